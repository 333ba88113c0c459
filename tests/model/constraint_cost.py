#!/usr/bin/env python3
"""What holding answers to a form costs and gains: the same held-out material with and without, in turn.

    constraint_cost.py --binary build/reelfolio [--model samples/model] [--weights int8] [--items 60] [--repeats 5] [--pages]

Frames: three questions whose answers are among a few texts (`choices`, as types). Pages (--pages): invoices as JSON (`extract`, with
`constrain` and without). Of each repetition every arm is run once: free, held, and one that stops after a token, whose processor time
(pictures, prompts, loading) is taken off the others'. Speed is generated tokens by what is left. Prints scores, speeds and the median
of the repetitions' ratios; fails if held answers score lower than free ones, or if that median is below 0.95 (pages: the answers of
frames are too short to time).
Needs a Python with numpy and Pillow, and the fonts that samples/training/README.md names; exits with 77 (skipped) without them.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "samples" / "training"))
sys.dont_write_bytecode = True
try:
    import numpy as np
    from PIL import Image

    import documents
    import frames
    import invoice_text
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

SEED = 4711
FORMS = {"count": " | ".join(("zero",) + frames.NUMBERS[1:]), "background": " | ".join(frames.BACKGROUNDS), "red_circle": "yes | no"}
SUFFIX = "\\nAnswer with a word or a short phrase."


def make_frames(folder, count):
    """Pictures, and what is right: name -> expected answer."""
    expected = {}
    for i in range(count):
        rng = np.random.default_rng((SEED, i))
        scene = frames.random_scene(rng, held_out=True)
        frame = frames.scaled(frames.lay_out(rng, scene, (288, 528)), (360, 640))
        Image.fromarray(frames.render(rng, frame)).save(folder / f"{i:05d}.png")
        answers = {name: a for name, (_, a) in frames.fixed_questions(scene).items() if name in FORMS}
        expected[i] = answers
    return expected


def make_pages(folder, count):
    expected = {}
    for i in range(count):
        rng = np.random.default_rng((SEED, i))
        invoice = invoice_text.random_invoice(rng, held_out=True)
        page = documents.typeset(rng, invoice_text.printed_lines(rng, invoice), size=(1248, 960))
        Image.fromarray(documents.render_page(rng, page)).save(folder / f"{i:05d}.png")
        expected[i] = json.loads(invoice_text.to_json(invoice))
    return expected


def graph_of(args, arm, folder, out):
    head = (f"version: 1\nmodel: {{path: {args.model}, weights: {args.weights}}}\ninputs: {{paths: [{folder}]}}\n"
            f"output: {{path: {out}}}\nstages:\n")
    if args.pages:
        return (head + f'  asked: {{use: extract, from: images, prompt: "{invoice_text.EXTRACT_PROMPTS[0]}", soft_tokens: 140, '
                f"max_tokens: {1 if arm == 'begun' else 192}, constrain: {'true' if arm == 'held' else 'false'}, "
                f"schema: {ROOT}/configs/schemas/invoice.json}}\n")
    some = frames.fixed_questions(frames.Scene("grey", ()))
    questions = "".join(f'      {name}: "{some[name][0]}"\n' for name in FORMS)
    types = "    types:\n" + "".join(f'      {name}: "{form}"\n' for name, form in FORMS.items()) if arm == "held" else ""
    return (head + f'  asked:\n    use: ask\n    from: images\n    prompt: "{{question}}{SUFFIX}"\n    soft_tokens: 70\n'
            f"    max_tokens: {1 if arm == 'begun' else 48}\n{types}    questions:\n{questions}")


def fields(value):
    if not isinstance(value, dict):
        return {}
    found = {name: value.get(name) for name in invoice_text.FIELDS if name != "lines"}
    for i, line in enumerate(value.get("lines") or []):
        if isinstance(line, dict):
            found |= {f"lines/{i}/{key}": line.get(key) for key in ("description", "quantity", "amount")}
    return found


def run(args, arm, work, folder, expected):
    """(right, of, generated tokens, processor seconds)"""
    out, graph = work / f"{arm}.jsonl", work / f"{arm}.yaml"
    graph.write_text(graph_of(args, arm, folder, out))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    done = subprocess.run([str(args.binary), "run", str(graph), "--fresh", "--progress", "none", "--threads", str(args.threads)], env=environment)
    if done.returncode not in (0, 3):
        sys.exit(f"the run ended with {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    right = of = 0
    for line in out.read_text().splitlines():
        record = json.loads(line)
        if record["type"] != "unit":
            continue
        wanted = expected[int(Path(record["input"]).stem)]
        if args.pages:
            got, wanted = fields(record["asked"].get("value")), fields(wanted)
        else:
            got = {name: answer["text"] for name, answer in record["asked"].items()}
        right += sum(name in got and got[name] == value for name, value in wanted.items())
        of += len(wanted)
    report = json.loads(Path(f"{out}.run.json").read_text())
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return right, of, report["stages"]["asked"]["generated_tokens"], seconds, report["engine"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", type=Path, required=True)
    p.add_argument("--model", type=Path, default=ROOT / "samples" / "model")
    p.add_argument("--weights", default="int8")
    p.add_argument("--items", type=int, default=60)
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--pages", action="store_true")
    args = p.parse_args()
    ratios, speeds, scores = [], {"free": [], "held": []}, {}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        folder = work / "pictures"
        folder.mkdir()
        expected = (make_pages if args.pages else make_frames)(folder, args.items)
        for repeat in range(args.repeats):
            arms = ["free", "held"] if repeat % 2 == 0 else ["held", "free"]
            begun = run(args, "begun", work, folder, expected)
            speed = {}
            for arm in arms:
                right, of, tokens, seconds, engine = run(args, arm, work, folder, expected)
                scores[arm] = right / of
                # The first token of each answer is in both.
                speed[arm] = (tokens - begun[2]) / max(seconds - begun[3], 1e-9)
                speeds[arm].append(speed[arm])
                print(json.dumps({"repeat": repeat, "arm": arm, "right": right, "of": of, "tokens": tokens, "tok_s": round(speed[arm], 1),
                                  "forced": engine["forced_tokens"], "mask_s": round(engine["mask_s"], 4)}), flush=True)
            ratios.append(speed["held"] / speed["free"])
    for arm in ("free", "held"):
        print(f"{arm}: {100 * scores[arm]:.1f} % right, {statistics.median(speeds[arm]):.1f} tokens per processor second")
    if scores["held"] < scores["free"]:
        sys.exit("held answers are worse")
    if not args.pages:
        return  # answers of a word are too short to time
    ratio = statistics.median(ratios)
    print(f"held / free: median {ratio:.3f} of {', '.join(f'{r:.3f}' for r in ratios)}")
    if ratio < 0.95:
        sys.exit("held answers are too slow")


if __name__ == "__main__":
    main()
