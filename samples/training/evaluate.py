"""Scores a model directory with transformers on held-out material.

    evaluate.py MODEL [--items 500] [--dtype float32] [--answers OUT.jsonl] [--images FOLDER]

Tasks: caption and questions, both by exact match. Frames are drawn at the
sizes of videos and photographs and go through the model directory's own image processor and chat
template. --answers keeps every prompt, expected and given answer; --images keeps the
pictures, for the same comparison through another engine.
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Gemma4ForConditionalGeneration

import batches
import frames

SIZES = ((360, 640), (480, 640), (512, 512), (640, 480), (720, 1280))
LAID_OUT = ((288, 528), (336, 432), (384, 384), (432, 336), (288, 528))
CAPTION_PROMPT = "Describe the image."
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


class Reference:
    def __init__(self, directory, dtype):
        self.processor = AutoProcessor.from_pretrained(directory)
        self.model = Gemma4ForConditionalGeneration.from_pretrained(directory, dtype=dtype).eval()

    def answer(self, pictures, prompts, max_new_tokens=48):
        """(texts, token ids) of greedy answers; ids end before the stop token."""
        messages = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": p}]}] for p in prompts]
        text = [self.processor.apply_chat_template(m, add_generation_prompt=True, tokenize=False) for m in messages]
        inputs = self.processor(text=text, images=[[p] for p in pictures], return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            out = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        stops = set(self.model.generation_config.eos_token_id) | {self.model.generation_config.pad_token_id}
        ids = []
        for row in out[:, inputs["input_ids"].shape[1]:].tolist():
            end = next((i for i, t in enumerate(row) if t in stops), len(row))
            ids.append(row[:end])
        return [self.processor.decode(r, skip_special_tokens=True) for r in ids], ids


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--items", type=int, default=500, help="frames; each gives one caption and two questions")
    p.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    p.add_argument("--seed", type=int, default=2026)
    p.add_argument("--batch", type=int, default=10)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--fixed-questions", action="store_true", help="four questions that fit every frame instead of two that vary")
    p.add_argument("--answers", type=Path)
    p.add_argument("--images", type=Path)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    reference = Reference(args.model, getattr(torch, args.dtype))
    right, total, kept, began = {}, {}, [], time.time()
    waiting = []

    def flush():
        texts, ids = reference.answer([w[1] for w in waiting], [w[3] for w in waiting])
        for (index, _, task, prompt, expected), text, row in zip(waiting, texts, ids):
            total[task] = total.get(task, 0) + 1
            right[task] = right.get(task, 0) + (text == expected)
            kept.append({"item": index, "task": task, "prompt": prompt, "expected": expected, "answer": text, "ids": row})
        waiting.clear()

    if args.images:
        args.images.mkdir(parents=True, exist_ok=True)
    for index, (picture, talk) in enumerate(held_out_frames(args.seed, args.items, args.fixed_questions)):
        if args.images:
            picture.save(args.images / f"{index:05d}.png")
        waiting.extend((index, picture, *t) for t in talk)
        if len(waiting) >= 3 * args.batch:
            flush()
    if waiting:
        flush()
    if args.answers:
        args.answers.write_text("".join(json.dumps(k, ensure_ascii=False) + "\n" for k in kept))
    print(json.dumps({"model": str(args.model), "dtype": args.dtype, "frames": args.items, "seconds": round(time.time() - began),
                      "correct_share": {t: round(right[t] / total[t], 4) for t in sorted(total)}, "items": total}))


if __name__ == "__main__":
    main()
