#!/usr/bin/env python3
"""Runs the sample model over held-out material through the program and through transformers,
scores both, and compares their answers.

    evaluate_engine.py --binary build/reelfolio [--weights f32 bf16 int8 int4 int2] [--items 500] [--pages | --speech] [--alone] [--work DIR]

Frames give a caption and four questions each, pages (--pages) an extraction and five readings, sounds (--speech) a transcript and their language. Prints the scores by task, and for each
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
import wave
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
    import speech
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

WEIGHTS = ("f32", "bf16", "int8", "int4", "int2")
AGREEMENT_OF_F32 = 0.995
POINTS_BELOW_F32 = {"int8": 0.5, "int4": 2.0}


class Pictures:
    """What is asked about a folder of pictures: one question for the whole, and others with names."""

    suffix = ".png"

    def __init__(self, name, source, whole, whole_prompt, part, questions):
        self.name, self.source, self.whole, self.whole_prompt, self.part = name, source, whole, whole_prompt, part
        self.questions = {key: question for key, (question, _) in questions.items()}
        self.soft_tokens, self.max_tokens = evaluate.BUDGETS[name]

    def task(self, name):
        """The task that an answer counts for."""
        return name if name == self.whole else self.part

    def keep(self, path, shown):
        shown.save(path)

    def show(self, path):
        return Image.open(path)

    def stages(self):
        questions = "".join(f'      {name}: "{q}"\n' for name, q in self.questions.items())
        limits = f"soft_tokens: {self.soft_tokens}, max_tokens: {self.max_tokens}, temperature: 0"
        return (f'  whole: {{use: caption, from: images, prompt: "{self.whole_prompt}", {limits}}}\n'
                f"  answers:\n    use: ask\n    from: images\n    soft_tokens: {self.soft_tokens}\n    max_tokens: {self.max_tokens}\n    temperature: 0\n"
                f"    questions:\n{questions}")

    def answers(self, record):
        """name -> text, of a unit's record."""
        return {self.whole: record["whole"]["text"]} | {name: answer["text"] for name, answer in record["answers"].items()}


class Sounds:
    """What `transcribe` asks of itself about a folder of sounds."""

    suffix, name, source = ".wav", "speech", staticmethod(evaluate.held_out_speech)

    def __init__(self):
        self.soft_tokens, self.max_tokens = evaluate.BUDGETS[self.name]

    def task(self, name):
        return name

    def keep(self, path, shown):
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(speech.RATE)
            out.writeframes((shown * 32768).astype("<i2").tobytes())

    def show(self, path):
        with wave.open(str(path)) as sound:
            return np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32) / 32768

    def stages(self):
        return f"  clips: {{use: split_audio, from: inputs}}\n  whole: {{use: transcribe, from: clips, max_tokens: {self.max_tokens}, temperature: 0}}\n"

    def answers(self, record):
        (clip,) = record["whole"]["clips"]
        return {"transcribe": clip["text"], "language": clip["language"] or speech.NO_LANGUAGE}


def material_of(name):
    if name == "speech":
        return Sounds()
    if name == "pages":
        some = invoice_text.random_invoice(np.random.default_rng(0))
        return Pictures(name, evaluate.held_out_pages, "extract", invoice_text.EXTRACT_PROMPTS[0], "read", invoice_text.fixed_questions(some))
    return Pictures(name, evaluate.held_out_frames, "caption", evaluate.CAPTION_PROMPT, "question", frames.fixed_questions(frames.Scene("grey", ())))


def fingerprint(model):
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:12]


def reference_answers(args, material, work):
    """The reference's answers, made once for a model, and the folder of the pictures or sounds."""
    _, folder = expected_answers(args, material, work)
    kept = work / f"reference-{material.name}-{fingerprint(args.model)}-{args.items}.jsonl"
    if not kept.exists():
        part = Path(str(kept) + ".part")
        subprocess.run([sys.executable, str(ROOT / "samples" / "training" / "evaluate.py"), str(args.model), "--items", str(args.items),
                        "--fixed-questions", "--answers", str(part)] + ([] if material.name == "frames" else ["--" + material.name]), check=True)
        part.rename(kept)
    return [json.loads(line) for line in kept.read_text().splitlines()], folder


def expected_answers(args, material, work):
    """What is right, without the reference's answers, and the folder of the pictures or sounds."""
    folder, expected = work / f"{material.name}-{args.items}", []
    folder.mkdir(parents=True, exist_ok=True)
    for item, (shown, talk) in enumerate(material.source(evaluate.SEED, args.items, fixed=True)):
        material.keep(folder / f"{item:05d}{material.suffix}", shown)
        expected += [{"item": item, "task": task, "prompt": prompt, "expected": right} for task, prompt, right in talk]
    return expected, folder


def engine_answers(args, material, work, folder, weights):
    """(item, name) -> text, from a run of the program."""
    out, graph = work / f"engine-{material.name}-{weights}.jsonl", work / "graph.yaml"
    out.unlink(missing_ok=True)
    graph.write_text(f"version: 1\nmodel: {{path: {args.model}, weights: {weights}}}\ninputs: {{paths: [{folder}]}}\nstages:\n"
                     f"{material.stages()}output: {{path: {out}}}\n")
    subprocess.run([str(args.binary), "run", str(graph), "--progress", "none"], check=True)
    ours = {}
    for line in out.read_text().splitlines():
        record = json.loads(line)
        if record["type"] == "unit":
            index = int(Path(record["input"]).stem)
            ours.update({(index, name): text for name, text in material.answers(record).items()})
    return ours


def scores(material, reference, answer_of):
    """task -> share that is right, in the unit of the task."""
    right, total = {}, {}
    for r in reference:
        task = material.task(r["task"])
        got, of = evaluate.score(task, answer_of(r), r["expected"])
        right[task], total[task] = right.get(task, 0) + got, total.get(task, 0) + of
    return {t: round(right[t] / total[t], 4) for t in total}


def explain(reference_model, material, folder, r, ours):
    """Where our answer leaves the reference's, and by how much the reference prefers its own token there."""
    tokenizer = reference_model.processor.tokenizer
    stop = tokenizer.convert_tokens_to_ids("<turn|>")
    mine, theirs = tokenizer(ours, add_special_tokens=False)["input_ids"] + [stop], r["ids"] + [stop]
    at = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), None)
    if at is None:
        return "the same tokens, decoded to another text"
    shown = material.show(folder / f"{r['item']:05d}{material.suffix}")
    z = reference_model.next_logits(shown, r["prompt"], material.soft_tokens, theirs[:at])
    a, b = (tokenizer.convert_ids_to_tokens(t) for t in (mine[at], theirs[at]))
    return f"token {at}: {a!r} for {b!r}, which the reference puts {float(z[theirs[at]] - z[mine[at]]):.4f} apart"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", type=Path, required=True)
    p.add_argument("--model", type=Path, default=ROOT / "samples" / "model")
    p.add_argument("--weights", nargs="+", default=["f32"], choices=WEIGHTS, help="int8 and int4 are compared with f32, which is run too")
    p.add_argument("--items", type=int, default=500)
    what = p.add_mutually_exclusive_group()
    what.add_argument("--pages", dest="material", action="store_const", const="pages", default="frames", help="invoices and receipts instead of frames")
    what.add_argument("--speech", dest="material", action="store_const", const="speech", help="spoken phrases instead of frames")
    p.add_argument("--alone", action="store_true", help="without the reference")
    p.add_argument("--work", type=Path, help="keeps reference answers for the next call; default: a temporary folder")
    args = p.parse_args()
    torch.set_num_threads(1)
    material, failures, table = material_of(args.material), [], {}
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        if args.alone:
            reference, folder = expected_answers(args, material, work)
        else:
            reference, folder = reference_answers(args, material, work)
            table["reference"] = scores(material, reference, lambda r: r["answer"])
        kept = work / f"scores-{material.name}-{fingerprint(args.model)}-{args.items}.json"  # of f32, for later calls with other weights
        known = json.loads(kept.read_text()) if kept.exists() else None
        wanted = [w for w in WEIGHTS if w in args.weights or (w == "f32" and known is None and set(args.weights) & set(POINTS_BELOW_F32))]
        for weights in wanted:
            ours = engine_answers(args, material, work, folder, weights)
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
                              f"{'no answer' if answer is None else explain(model, material, folder, r, answer)}")
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
