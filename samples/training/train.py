"""Trains the sample model. Every phase resumes from its checkpoint in --work.

    train.py tower   --work DIR    vision tower alone, with dense targets on small frames
    train.py decoder --work DIR    decoder alone, on what an ideal tower would report
    train.py joint   --work DIR    both together, on whole frames, captions and questions

`tower` and `decoder` are independent and may run side by side; `joint` starts from both.
"""
import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import batches
import forward
import frames
import model as sample_model
from optimiser import Optimiser

HERE = Path(__file__).resolve().parent


def schedule(step, steps, warm_up=60):
    """Linear warm-up, constant, linear fall over the last 40 %."""
    return min(1.0, (step + 1) / warm_up, max(0.02, (steps - step) / (0.4 * steps)))


class Heads(torch.nn.Module):
    """Read the dense targets off the pooled features during pre-training; thrown away afterwards."""

    def __init__(self, width):
        super().__init__()
        self.shape = torch.nn.Linear(width, 1 + len(frames.SHAPES))
        self.colour = torch.nn.Linear(width, 1 + len(frames.COLOURS))
        self.offset = torch.nn.Linear(width, 2)
        self.background = torch.nn.Linear(width, len(frames.BACKGROUNDS))

    def forward(self, pooled, targets, background):
        """Loss, and the share of cells with a centre whose shape and colour are both right."""
        x = forward.norm(pooled)
        shape, colour = targets[..., 0].long(), targets[..., 1].long()
        has = shape > 0
        weight = torch.where(has, 1.0, 0.25)
        z = self.shape(x).flatten(0, 1), self.colour(x).flatten(0, 1)
        total = weight.sum()
        loss = ((F.cross_entropy(z[0], shape.flatten(), reduction="none") + F.cross_entropy(z[1], colour.flatten(), reduction="none")) * weight.flatten()).sum() / total
        loss = loss + ((self.offset(x) - 2 * targets[..., 2:]).pow(2).sum(-1) * has).sum() / has.sum().clamp(min=1)
        loss = loss + F.cross_entropy(self.background(x).flatten(0, 1), background.repeat_interleave(x.shape[1]))
        right = (z[0].argmax(-1) == shape.flatten()) & (z[1].argmax(-1) == colour.flatten())
        return loss, (right & has.flatten()).sum() / has.sum().clamp(min=1), right.float().mean()


def batch_of_scatter(rng, size, count):
    made = [frames.scatter(rng, size) for _ in range(count)]
    images = np.stack([frames.render(rng, f) for f in made])
    return images, np.stack([frames.cell_targets(f) for f in made]), np.array([batches.background_index(f) for f in made])


def batch_of_scenes(rng, size, count, draw=True, questions=6, held_out=False):
    scenes = [frames.random_scene(rng, held_out) for _ in range(count)]
    made = [frames.lay_out(rng, s, size) for s in scenes]
    images = np.stack([frames.render(rng, f) for f in made]) if draw else None
    return (images, np.stack([frames.cell_targets(f) for f in made]), np.array([batches.background_index(f) for f in made]),
            [batches.conversations(rng, s, questions) for s in scenes])


class Log:
    def __init__(self, path):
        self.file, self.start = open(path, "a"), time.time()

    def __call__(self, **values):
        line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()} | {"s": round(time.time() - self.start)})
        print(line, flush=True)
        self.file.write(line + "\n")
        self.file.flush()


def save(path, **state):
    torch.save(state, str(path) + ".part")
    os.replace(str(path) + ".part", path)


def answer_loss(logits, target):
    """logits [n, V] at the n places of target [B, T] that are not -100. Returns the mean loss, and the share of
    captions and of other answers whose every token is the most likely one; an answer is a run of such places and the
    first of a row is the caption."""
    inside = target >= 0
    loss = F.cross_entropy(logits, target[inside])
    with torch.no_grad():
        begins = inside & ~F.pad(inside[:, :-1], (1, 0))
        answer = begins.flatten().cumsum(0)[inside.flatten()] - 1  # which answer each place belongs to
        wrong = torch.zeros(int(begins.sum())).index_add(0, answer, (logits.argmax(-1) != target[inside]).float())
        row = torch.nonzero(begins)[:, 0]
        first = torch.cat((torch.ones(1, dtype=torch.bool), row[1:] != row[:-1]))
        exact = (wrong == 0).float()
    return loss, exact[first].mean(), exact[~first].mean()


def train_tower(args, model, tok):
    tower = model.model.vision_tower
    heads = Heads(tower.config.hidden_size)
    opt = Optimiser([("tower." + n, p) for n, p in tower.named_parameters()] + [("heads.embed_tokens." + n, p) for n, p in heads.named_parameters()],
                    matrix_lr=args.lr, other_lr=args.other_lr)
    path, start = args.work / "tower.pt", 0
    if path.exists():
        s = torch.load(path, weights_only=True)
        tower.load_state_dict(s["tower"]), heads.load_state_dict(s["heads"]), opt.load_state_dict(s["opt"])
        start = s["step"]
    log = Log(args.work / "tower.log")
    size, seen, mean = (192, 240), start * args.batch, None
    for step in range(start, args.steps):
        rng = np.random.default_rng((args.seed, 1, step))
        whole = step >= args.whole_from and step % 2 == 1
        if whole:
            h, w = batches.GRIDS[(step // 2) % len(batches.GRIDS)]
            count, offset = max(4, args.batch // 8), (0, 0)
            images, targets, ground, _ = batch_of_scenes(rng, (h, w), count, questions=1)
        else:
            (h, w), count = size, args.batch
            images, targets, ground = batch_of_scatter(rng, size, count)
            offset = (int(rng.integers(0, 34 - w // 16)), int(rng.integers(0, 28 - h // 16)))
        pooled = forward.vision(tower, batches.patches_of(images), batches.grid_positions(h, w, offset), (h // 16, w // 16))
        loss, right, cells = heads(pooled, torch.from_numpy(targets), torch.from_numpy(ground))
        loss.backward()
        opt.step(schedule(step, args.steps))
        now = np.array([float(loss.detach()), float(right), float(cells)])
        mean = now if mean is None else 0.9 * mean + 0.1 * now
        if step % 20 == 19:
            log(step=step + 1, loss=mean[0], centres=mean[1], cells=mean[2], whole=bool(whole))
        if step % 100 == 99 or step + 1 == args.steps:
            save(path, tower=tower.state_dict(), heads=heads.state_dict(), opt=opt.state_dict(), step=step + 1)


def decoder_batch(args, text, rng, size, draw):
    images, targets, ground, talk = batch_of_scenes(rng, size, args.batch, draw)
    soft_tokens = (size[0] // 48) * (size[1] // 48)
    ids, target, branch, position, keep = text.pack(soft_tokens, talk)
    return images, targets, ground, ids, target, branch, position, keep


def answers(model, soft, front, ids, target, branch, position, keep):
    """Logits at the places of `target` where there is something to learn, and those targets."""
    window = model.config.text_config.sliding_window
    target = torch.from_numpy(target[:, keep:])
    logits = forward.decoder(model, torch.from_numpy(ids), soft, front, torch.from_numpy(position), batches.masks(branch, position, window), keep, target >= 0)
    return logits, target


def train_decoder(args, model, tok):
    lm = model.model.language_model
    text = batches.Text(tok)
    codebook = torch.nn.Linear(batches.code_size(), lm.config.hidden_size, bias=False)
    torch.nn.init.normal_(codebook.weight, 0, 0.5)
    opt = Optimiser([("lm." + n, p) for n, p in lm.named_parameters()] + [("codebook.embed_tokens", codebook.weight)], matrix_lr=args.lr, other_lr=args.other_lr)
    path, start = args.work / "decoder.pt", 0
    if path.exists():
        s = torch.load(path, weights_only=True)
        lm.load_state_dict(s["lm"]), codebook.load_state_dict(s["codebook"]), opt.load_state_dict(s["opt"])
        start = s["step"]
    log = Log(args.work / "decoder.log")
    mean, at = None, len(text.front)
    for step in range(start, args.steps):
        rng = np.random.default_rng((args.seed, 2, step))
        size = batches.GRIDS[step % len(batches.GRIDS)]
        _, targets, ground, ids, target, branch, position, keep = decoder_batch(args, text, rng, size, draw=False)
        code = torch.from_numpy(batches.codes(targets, ground))
        code = code + torch.randn_like(code) * args.code_noise
        loss, captions, others = answer_loss(*answers(model, codebook(code), at, ids, target, branch, position, keep))
        loss.backward()
        opt.step(schedule(step, args.steps))
        now = np.array([float(loss.detach()), float(captions), float(others)])
        mean = now if mean is None else 0.9 * mean + 0.1 * now
        if step % 20 == 19:
            log(step=step + 1, loss=mean[0], captions=mean[1], answers=mean[2])
        if step % 100 == 99 or step + 1 == args.steps:
            save(path, lm=lm.state_dict(), codebook=codebook.state_dict(), opt=opt.state_dict(), step=step + 1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("phase", choices=("tower", "decoder", "joint"))
    p.add_argument("--work", type=Path, required=True, help="folder of checkpoints and logs")
    p.add_argument("--steps", type=int, default=3000)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--lr", type=float, default=0.02, help="of weight matrices")
    p.add_argument("--other-lr", type=float, default=3e-3, help="of tables and norms")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--code-noise", type=float, default=0.15)
    p.add_argument("--whole-from", type=int, default=400, help="tower: first step that also sees whole frames")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    tok = Tokenizer.from_file(str(HERE.parent / "model" / "tokenizer.json"))
    model = sample_model.new_model(sample_model.build_config(tok), args.seed)
    forward.check_against_library(model)
    model.train()
    {"tower": train_tower, "decoder": train_decoder}[args.phase](args, model, tok)


if __name__ == "__main__":
    main()
