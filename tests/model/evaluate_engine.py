#!/usr/bin/env python3
"""Runs the sample model over held-out material through the program and through transformers,
scores both, and compares their answers.

    evaluate_engine.py --binary build/reelfolio [--weights f32 bf16 int8 int4 int2] [--items 500] [--pages] [--alone] [--work DIR]

Frames give a caption and four questions each, pages (--pages) an extraction and five readings. Prints the scores by task, and for each
answer with f32 weights that is not the reference's the token where they part and how far the reference's own logits of the two
tokens lie apart there. Fails if
    f32   fewer than 99.5 % of the answers are the reference's
    int8  a task scores more than 0.5 points below f32
    int4  a task scores more than 2 points below f32
bf16 and int2 are reported. --alone leaves the reference out and takes a fraction of the time: scores by task, and the limits of int8 and int4.
Needs a Python with torch, transformers and Pillow; exits with 77 (skipped) where those are missing.
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
    import numpy as np
    import torch
    import torchvision  # noqa: F401: the image processor needs it
    import transformers  # noqa: F401
    from PIL import Image

    import evaluate
    import frames
    import invoice_text
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

WEIGHTS = ("f32", "bf16", "int8", "int4", "int2")
AGREEMENT_OF_F32 = 0.995
POINTS_BELOW_F32 = {"int8": 0.5, "int4": 2.0}


class Material:
    """What differs between frames and pages."""

    def __init__(self, pages):
        self.pages = pages
        self.name = "pages" if pages else "frames"
        self.soft_tokens, self.max_tokens = evaluate.BUDGETS[self.name]
        if pages:
            some = invoice_text.random_invoice(np.random.default_rng(0))
            self.whole, self.whole_prompt = "extract", invoice_text.EXTRACT_PROMPTS[0]
            self.questions = {name: q for name, (q, _) in invoice_text.fixed_questions(some).items()}
        else:
            self.whole, self.whole_prompt = "caption", evaluate.CAPTION_PROMPT
            self.questions = {name: q for name, (q, _) in frames.fixed_questions(frames.Scene("grey", ())).items()}

    def task(self, name):
        """The task that an answer counts for."""
        return name if name == self.whole else "read" if self.pages else "question"

    def graph(self, model, weights, folder, out):
        questions = "".join(f'      {name}: "{q}"\n' for name, q in self.questions.items())
        limits = f"soft_tokens: {self.soft_tokens}, max_tokens: {self.max_tokens}, temperature: 0"
        return (f"version: 1\nmodel: {{path: {model}, weights: {weights}}}\ninputs: {{paths: [{folder}]}}\nstages:\n"
                f'  whole: {{use: caption, from: images, prompt: "{self.whole_prompt}", {limits}}}\n'
                f"  answers:\n    use: ask\n    from: images\n    soft_tokens: {self.soft_tokens}\n    max_tokens: {self.max_tokens}\n    temperature: 0\n"
                f"    questions:\n{questions}output: {{path: {out}}}\n")


def fingerprint(model):
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:12]


def reference_answers(args, material, work):
    """The reference's answers, and the folder of the pictures; both are made once for a model."""
    images = work / f"{material.name}-{args.items}"
    kept = work / f"reference-{material.name}-{fingerprint(args.model)}-{args.items}.jsonl"
    if not kept.exists() or not images.exists():
        part = Path(str(kept) + ".part")
        subprocess.run([sys.executable, str(ROOT / "samples" / "training" / "evaluate.py"), str(args.model), "--items", str(args.items),
                        "--fixed-questions", "--answers", str(part), "--images", str(images)] + (["--pages"] if material.pages else []), check=True)
        part.rename(kept)
    return [json.loads(line) for line in kept.read_text().splitlines()], images


def expected_answers(args, material, work):
    """What is right, without the reference's answers, and the folder of the pictures."""
    images, expected = work / f"{material.name}-{args.items}", []
    images.mkdir(parents=True, exist_ok=True)
    source = evaluate.held_out_pages if material.pages else evaluate.held_out_frames
    for item, (picture, talk) in enumerate(source(evaluate.SEED, args.items, fixed=True)):
        picture.save(images / f"{item:05d}.png")
        expected += [{"item": item, "task": task, "prompt": prompt, "expected": right} for task, prompt, right in talk]
    return expected, images


def engine_answers(args, material, work, images, weights):
    """(item, name) -> text, from a run of the program."""
    out, graph = work / f"engine-{material.name}-{weights}.jsonl", work / "graph.yaml"
    out.unlink(missing_ok=True)
    graph.write_text(material.graph(args.model, weights, images, out))
    subprocess.run([str(args.binary), "run", str(graph), "--progress", "none"], check=True)
    ours = {}
    for line in out.read_text().splitlines():
        record = json.loads(line)
        if record["type"] == "unit":
            index = int(Path(record["input"]).stem)
            ours[index, material.whole] = record["whole"]["text"]
            ours.update({(index, name): answer["text"] for name, answer in record["answers"].items()})
    return ours


def scores(material, reference, answer_of):
    """task -> share that is right, in the unit of the task."""
    right, total = {}, {}
    for r in reference:
        task = material.task(r["task"])
        got, of = evaluate.score(task, answer_of(r), r["expected"])
        right[task], total[task] = right.get(task, 0) + got, total.get(task, 0) + of
    return {t: round(right[t] / total[t], 4) for t in total}


def explain(reference_model, material, images, r, ours):
    """Where our answer leaves the reference's, and by how much the reference prefers its own token there."""
    tokenizer = reference_model.processor.tokenizer
    stop = tokenizer.convert_tokens_to_ids("<turn|>")
    mine, theirs = tokenizer(ours, add_special_tokens=False)["input_ids"] + [stop], r["ids"] + [stop]
    at = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), None)
    if at is None:
        return "the same tokens, decoded to another text"
    picture = Image.open(images / f"{r['item']:05d}.png")
    z = reference_model.next_logits(picture, r["prompt"], material.soft_tokens, theirs[:at])
    a, b = (tokenizer.convert_ids_to_tokens(t) for t in (mine[at], theirs[at]))
    return f"token {at}: {a!r} for {b!r}, which the reference puts {float(z[theirs[at]] - z[mine[at]]):.4f} apart"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", type=Path, required=True)
    p.add_argument("--model", type=Path, default=ROOT / "samples" / "model")
    p.add_argument("--weights", nargs="+", default=["f32"], choices=WEIGHTS, help="int8 and int4 are compared with f32, which is run too")
    p.add_argument("--items", type=int, default=500)
    p.add_argument("--pages", action="store_true", help="invoices and receipts instead of frames")
    p.add_argument("--alone", action="store_true", help="without the reference")
    p.add_argument("--work", type=Path, help="keeps pictures and reference answers for the next call; default: a temporary folder")
    args = p.parse_args()
    torch.set_num_threads(1)
    material, failures, table = Material(args.pages), [], {}
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        if args.alone:
            reference, images = expected_answers(args, material, work)
        else:
            reference, images = reference_answers(args, material, work)
            table["reference"] = scores(material, reference, lambda r: r["answer"])
        kept = work / f"scores-{material.name}-{fingerprint(args.model)}-{args.items}.json"  # of f32, for later calls with other weights
        known = json.loads(kept.read_text()) if kept.exists() else None
        wanted = [w for w in WEIGHTS if w in args.weights or (w == "f32" and known is None and set(args.weights) & set(POINTS_BELOW_F32))]
        for weights in wanted:
            ours = engine_answers(args, material, work, images, weights)
            table[weights] = scores(material, reference, lambda r: ours.get((r["item"], r["task"]), ""))
            row = {"weights": weights, "answers": len(reference), "score": table[weights]}
            different = []
            if not args.alone:
                different = [r for r in reference if ours.get((r["item"], r["task"])) != r["answer"].strip()]
                agreement = 1 - len(different) / len(reference)
                row["same_as_reference"] = round(agreement, 5)
            print(json.dumps(row), flush=True)
            if weights == "f32":
                known = table[weights]
                kept.write_text(json.dumps(known))
                if different:
                    model = evaluate.Reference(args.model, torch.float32)
                    for r in different:
                        answer = ours.get((r["item"], r["task"]))
                        print(f"item {r['item']:05d} {r['task']}: engine {answer!r}, reference {r['answer']!r}, expected {r['expected']!r}; "
                              f"{'no answer' if answer is None else explain(model, material, images, r, answer)}")
                    if agreement < AGREEMENT_OF_F32:
                        failures.append(f"f32: only {agreement:.4f} of the answers are the reference's, expected {AGREEMENT_OF_F32}")
            for task, share in table[weights].items():
                if weights in POINTS_BELOW_F32 and share < known[task] - POINTS_BELOW_F32[weights] / 100 - 1e-9:
                    failures.append(f"{weights}: {task} scores {100 * share:.1f} %, f32 {100 * known[task]:.1f} %; {POINTS_BELOW_F32[weights]} points are allowed")
    for row, by_task in table.items():
        print(f"{row:10}" + "".join(f"  {task} {100 * share:5.1f} %" for task, share in by_task.items()))
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
