"""Scores a model directory with transformers on held-out material.

    evaluate.py MODEL [--items 500] [--dtype float32] [--answers OUT.jsonl]

Tasks: caption and questions, both by exact match; with --pages extraction (share of fields that are exact,
share of answers that are valid JSON) and reading (share of characters that are right); with --speech transcription (exact match). Frames are drawn at the
sizes of videos and photographs and go through the model directory's own image processor and chat
template. --answers keeps every prompt, expected and given answer, for the same comparison through another engine.
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Gemma4ForConditionalGeneration

import documents
import frames
import invoice_text
import speech

SEED = 2026
SIZES = ((360, 640), (480, 640), (512, 512), (640, 480), (720, 1280))
LAID_OUT = ((288, 528), (336, 432), (384, 384), (432, 336), (288, 528))
CAPTION_PROMPT = "Describe the image."
# Soft tokens of a picture and most tokens of an answer.
BUDGETS = {"frames": (70, 48), "pages": (140, 160), "speech": (70, 32)}
QUESTION_SUFFIX = "\nAnswer with a word or a short phrase."


def held_out_frames(seed, count, fixed=False):
    """(picture, [(task, prompt, expected)]) for `count` held-out scenes. `fixed`: the same questions for each frame."""
    for i in range(count):
        rng = np.random.default_rng((seed, 99, i))
        scene = frames.random_scene(rng, held_out=True)
        k = int(rng.integers(0, len(SIZES)))
        frame = frames.scaled(frames.lay_out(rng, scene, LAID_OUT[k]), SIZES[k])
        talk = [("caption", CAPTION_PROMPT, frames.caption(scene))]
        if fixed:
            talk += [(name, q + QUESTION_SUFFIX, a) for name, (q, a) in frames.fixed_questions(scene).items()]
        else:
            talk += [("question", q + QUESTION_SUFFIX, a) for q, a in frames.questions(rng, scene, 2)]
        yield Image.fromarray(frames.render(rng, frame)), talk


def held_out_pages(seed, count, fixed=False):
    """(picture, [(task, prompt, expected)]) for `count` held-out pages: the extraction, and two readings or, `fixed`, the same for each page."""
    for i in range(count):
        rng = np.random.default_rng((seed, 98, i))
        invoice = invoice_text.random_invoice(rng, held_out=True)
        lines = invoice_text.printed_lines(rng, invoice)
        page = documents.typeset(rng, lines, size=(1248, 960))
        talk = [("extract", invoice_text.EXTRACT_PROMPTS[0], invoice_text.to_json(invoice))]
        if fixed:
            talk += [(name, q + QUESTION_SUFFIX, a) for name, (q, a) in invoice_text.fixed_questions(invoice).items()]
        else:
            talk += [("read", q + QUESTION_SUFFIX, a) for q, a in invoice_text.reading_questions(rng, invoice, lines)[:2]]
        yield Image.fromarray(documents.render_page(rng, page)), talk


def held_out_speech(seed, count, fixed=False):
    """(sound, [(task, prompt, expected)]) for `count` held-out sounds, of which one in ten has no speech, asked what the `transcribe` stage
    asks; the samples are those of a 16-bit file."""
    for i in range(count):
        rng = np.random.default_rng((seed, 97, i))
        said = speech.random_phrases(rng, held_out=True) if i % 10 != 9 else []
        sound = np.round(32767 * (speech.speak(rng, said) if said else speech.no_speech(rng))).astype(np.float32) / 32768
        text = " ".join(said)
        yield sound, [("transcribe", speech.PROMPTS[0], speech.written(text)), ("language", *speech.language_question(text))]


def fields(text):
    """field path -> value of a JSON answer; None if it is not valid JSON. A line of the invoice is three fields."""
    try:
        value = json.loads(text)
        out = {f: value.get(f) for f in invoice_text.FIELDS if f != "lines"}
        for i, line in enumerate(value.get("lines") or []):
            out |= {f"lines/{i}/{k}": line.get(k) for k in ("description", "quantity", "amount")}
        return out
    except (ValueError, AttributeError, TypeError):
        return None


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def score(task, answer, expected):
    """(right, of) in the unit of the task: answers, fields or characters."""
    if task == "extract":
        want, got = fields(expected), fields(answer) or {}
        return sum(k in got and got[k] == v for k, v in want.items()), len(want)
    if task == "read":
        return max(0, len(expected) - edit_distance(answer, expected)), len(expected)
    return int(answer == expected), 1


class Reference:
    def __init__(self, directory, dtype):
        self.processor = AutoProcessor.from_pretrained(directory)
        self.model = Gemma4ForConditionalGeneration.from_pretrained(directory, dtype=dtype).eval()

    def inputs(self, shown, prompts, soft_tokens):
        """`shown` are pictures, or sounds (arrays of samples at 16 kHz); one before each prompt."""
        sound = isinstance(shown[0], np.ndarray)
        messages = [[{"role": "user", "content": [{"type": "audio" if sound else "image"}, {"type": "text", "text": p}]}] for p in prompts]
        text = [self.processor.apply_chat_template(m, add_generation_prompt=True, tokenize=False) for m in messages]
        media = {"audio": list(shown)} if sound else {"images": [[p] for p in shown], "max_soft_tokens": soft_tokens}
        return self.processor(text=text, **media, return_tensors="pt", padding=True, add_special_tokens=False)

    def answer(self, shown, prompts, soft_tokens, max_new_tokens):
        """(texts, token ids) of greedy answers; ids end before the stop token."""
        inputs = self.inputs(shown, prompts, soft_tokens)
        with torch.no_grad():
            out = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        stops = set(self.model.generation_config.eos_token_id) | {self.model.generation_config.pad_token_id}
        ids = []
        for row in out[:, inputs["input_ids"].shape[1]:].tolist():
            end = next((i for i, t in enumerate(row) if t in stops), len(row))
            ids.append(row[:end])
        return [self.processor.decode(r, skip_special_tokens=True) for r in ids], ids

    def next_logits(self, picture, prompt, soft_tokens, begun):
        """Logits [vocabulary] of the token after the ids `begun` of an answer."""
        inputs = self.inputs([picture], [prompt], soft_tokens)
        more = torch.tensor([begun], dtype=torch.long)
        for key, value in (("input_ids", more), ("attention_mask", torch.ones_like(more)), ("mm_token_type_ids", torch.zeros_like(more))):
            if key in inputs:
                inputs[key] = torch.cat((inputs[key], value), 1)
        with torch.no_grad():
            return self.model(**inputs).logits[0, -1].float()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--items", type=int, default=500, help="pictures or phrases; each frame gives one caption and two questions, each page an extraction and two readings")
    p.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    p.add_argument("--seed", type=int, default=SEED)
    p.add_argument("--batch", type=int, default=10)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--fixed-questions", action="store_true", help="questions that fit every picture, four of a frame and five of a page, instead of two that vary")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--pages", dest="material", action="store_const", const="pages", default="frames", help="invoices instead of frames, at 140 soft tokens")
    what.add_argument("--speech", dest="material", action="store_const", const="speech", help="spoken phrases instead of frames")
    p.add_argument("--answers", type=Path)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    reference = Reference(args.model, getattr(torch, args.dtype))
    right, total, kept, began = {}, {}, [], time.time()
    waiting = []

    def flush():
        soft_tokens, longest = BUDGETS[args.material]
        texts, ids = reference.answer([w[1] for w in waiting], [w[3] for w in waiting], soft_tokens, longest)
        for (index, _, task, prompt, expected), text, row in zip(waiting, texts, ids):
            r, n = score("read" if args.material == "pages" and task != "extract" else task, text, expected)
            right[task], total[task] = right.get(task, 0) + r, total.get(task, 0) + n
            if task == "extract":
                right["valid_json"], total["valid_json"] = right.get("valid_json", 0) + (fields(text) is not None), total.get("valid_json", 0) + 1
            kept.append({"item": index, "task": task, "prompt": prompt, "expected": expected, "answer": text, "ids": row})
        waiting.clear()

    source = {"frames": held_out_frames, "pages": held_out_pages, "speech": held_out_speech}[args.material](args.seed, args.items, args.fixed_questions)
    for index, (shown, talk) in enumerate(source):
        waiting.extend((index, shown, *t) for t in talk)
        if len(waiting) >= 3 * args.batch:
            flush()
    if waiting:
        flush()
    if args.answers:
        args.answers.write_text("".join(json.dumps(k, ensure_ascii=False) + "\n" for k in kept))
    print(json.dumps({"model": str(args.model), "dtype": args.dtype, "pictures": args.items, "seconds": round(time.time() - began),
                      "correct_share": {t: round(right[t] / total[t], 4) for t in sorted(total)}, "items": total}))


if __name__ == "__main__":
    main()
