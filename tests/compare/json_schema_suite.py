#!/usr/bin/env python3
"""Runs the official JSON-Schema-Test-Suite through `reelfolio schema`.

  tests/compare/json_schema_suite.py build/reelfolio JSON-Schema-Test-Suite/tests/draft2020-12
  tests/compare/json_schema_suite.py build/reelfolio JSON-Schema-Test-Suite/tests/draft7/optional/format

Each group's schema is compiled; a refused one is counted by the keyword that is refused. Of the others
every instance must be admitted exactly if the suite calls it valid. Exit 1 where one is not.

Left out: format.json, which has formats say nothing. They are always checked here; optional/format tests that.
"""
import collections
import json
import pathlib
import subprocess
import sys
import tempfile


def main():
    program = sys.argv[1]
    counts, refused, wrong = collections.Counter(), collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        schema = pathlib.Path(folder) / "schema.json"
        for path in sorted(p for name in sys.argv[2:] for p in pathlib.Path(name).glob("*.json")):
            if path.name == "format.json":
                continue
            for group in json.loads(path.read_text()):
                if "draft7" in path.parts and isinstance(group["schema"], dict):
                    group["schema"].setdefault("$schema", "http://json-schema.org/draft-07/schema#")
                schema.write_text(json.dumps(group["schema"]))
                lines = "".join(json.dumps(test["data"]) + "\n" for test in group["tests"])
                run = subprocess.run([program, "schema", schema, "-"], input=lines, capture_output=True, text=True)
                counts["groups"] += 1
                nothing = run.returncode == 2 and "no value satisfies" in run.stdout
                if run.returncode == 2 and not nothing:
                    counts["refused groups"] += 1
                    refused[run.stdout.splitlines()[0].split("#", 1)[1].split(": ", 1)[1]] += 1
                    continue
                answers = [False] * len(group["tests"]) if nothing else [
                    line.endswith(": admitted") for line in run.stdout.splitlines()[1:]]
                for test, admitted in zip(group["tests"], answers, strict=True):
                    counts["cases"] += 1
                    if admitted != test["valid"]:
                        wrong.append(f'{path.name}: {group["description"]}: {test["description"]}: '
                                     f'valid {test["valid"]}, admitted {admitted}')
    for message, count in refused.most_common():
        print(f"refused {count} times: {message}")
    for line in wrong:
        print(line)
    print(", ".join(f"{count} {name}" for name, count in counts.items()), f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
