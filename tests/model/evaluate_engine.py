#!/usr/bin/env python3
"""Runs the sample model over held-out frames through the program and through transformers,
scores both, and compares their answers.

    evaluate_engine.py --binary build/reelfolio [--weights f32] [--items 500] [--work DIR]

Fails if fewer than --agreement of the answers are the same (default 0.995 for f32, where the
program has to reproduce the reference's greedy tokens; no limit for other weights). Every
difference is printed. Needs a Python with torch, transformers and Pillow; exits with 77 (skipped)
where those are missing.
"""
import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "samples" / "training"))
sys.dont_write_bytecode = True
try:
    import frames
    import numpy as np
    import torch  # noqa: F401
    import transformers  # noqa: F401

    import evaluate
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def graph_text(model, weights, folder, out):
    empty = frames.fixed_questions(frames.Scene("grey", ()))
    questions = "".join(f'      {name}: "{q}"\n' for name, (q, _) in empty.items())
    return (f"version: 1\nmodel: {{path: {model}, weights: {weights}}}\ninputs: {{paths: [{folder}]}}\nstages:\n"
            f'  caption: {{use: caption, from: images, prompt: "{evaluate.CAPTION_PROMPT}", soft_tokens: 70, max_tokens: 48, temperature: 0}}\n'
            "  answers:\n    use: ask\n    from: images\n    soft_tokens: 70\n    max_tokens: 48\n    temperature: 0\n    questions:\n"
            f"{questions}output: {{path: {out}}}\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", type=Path, required=True)
    p.add_argument("--model", type=Path, default=ROOT / "samples" / "model")
    p.add_argument("--weights", default="f32")
    p.add_argument("--items", type=int, default=500)
    p.add_argument("--agreement", type=float)
    p.add_argument("--work", type=Path, help="keeps pictures and reference answers for the next call; default: a temporary folder")
    args = p.parse_args()
    limit = args.agreement if args.agreement is not None else (0.995 if args.weights == "f32" else 0.0)
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        fingerprint = hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest()[:12]
        images, reference_file = work / f"images-{args.items}", work / f"reference-{fingerprint}-{args.items}.jsonl"
        if not reference_file.exists():
            subprocess.run([sys.executable, str(ROOT / "samples" / "training" / "evaluate.py"), str(args.model), "--items", str(args.items),
                            "--fixed-questions", "--answers", str(reference_file) + ".part", "--images", str(images)], check=True)
            Path(str(reference_file) + ".part").rename(reference_file)
        out = work / f"engine-{args.weights}.jsonl"
        out.unlink(missing_ok=True)
        graph = work / "graph.yaml"
        graph.write_text(graph_text(args.model, args.weights, images, out))
        subprocess.run([str(args.binary), "run", str(graph), "--progress", "none"], check=True)
        ours = {}
        for line in out.read_text().splitlines():
            record = json.loads(line)
            if record["type"] == "unit":
                index = int(Path(record["input"]).stem)
                ours[index, "caption"] = record["caption"]["text"]
                ours.update({(index, name): answer["text"] for name, answer in record["answers"].items()})
        same, right, theirs, total = 0, {}, {}, {}
        reference = [json.loads(line) for line in reference_file.read_text().splitlines()]
        for r in reference:
            key = (r["item"], r["task"])
            answer = ours.get(key)
            task = "caption" if r["task"] == "caption" else "question"
            total[task] = total.get(task, 0) + 1
            right[task] = right.get(task, 0) + (answer == r["expected"])
            theirs[task] = theirs.get(task, 0) + (r["answer"] == r["expected"])
            if answer == r["answer"].strip():
                same += 1
            else:
                print(f"item {key[0]:05d} {key[1]}: engine {answer!r}, reference {r['answer']!r}, expected {r['expected']!r}")
    share = same / len(reference)
    print(json.dumps({"weights": args.weights, "answers": len(reference), "same_as_reference": round(share, 5),
                      "engine_correct": {t: round(right[t] / total[t], 4) for t in total},
                      "reference_correct": {t: round(theirs[t] / total[t], 4) for t in total}}))
    if share < limit:
        sys.exit(f"only {share:.4f} of the answers agree, expected {limit}")


if __name__ == "__main__":
    main()
