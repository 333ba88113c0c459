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
from PIL import Image
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


def picture(rng, frame):
    """The frame as the image processor would hand it on: half of them drawn at another size and resized."""
    if rng.random() < 0.5:
        return frames.render(rng, frame)
    k = rng.uniform(0.75, 2.2)
    drawn = frames.render(rng, frames.scaled(frame, (round(frame.height * k * rng.uniform(0.96, 1.04)), round(frame.width * k))))
    return np.asarray(Image.fromarray(drawn).resize((frame.width, frame.height), Image.BICUBIC))


def batch_of_scenes(rng, size, count, draw=True, questions=6, held_out=False):
    scenes = [frames.random_scene(rng, held_out) for _ in range(count)]
    made = [frames.lay_out(rng, s, size) for s in scenes]
    images = np.stack([picture(rng, f) for f in made]) if draw else None
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


def fit_projection(model, codebook, rng, count=12):
    """Least squares from the tower's features to what the decoder was trained on."""
    xs, ys, ws = [], [], []
    with torch.no_grad():
        for i in range(4 * count):
            h, w = batches.GRIDS[i % len(batches.GRIDS)]
            images, targets, ground, _ = batch_of_scenes(rng, (h, w), 4, questions=1)
            pooled = forward.vision(model.model.vision_tower, batches.patches_of(images), batches.grid_positions(h, w), (h // 16, w // 16))
            xs.append(forward.norm(pooled).flatten(0, 1))
            ys.append(codebook(torch.from_numpy(batches.codes(targets, ground))).flatten(0, 1))
            ws.append(torch.from_numpy(np.where(targets[..., 0] > 0, 3.0, 1.0).astype(np.float32)).flatten())
        x, y, w = torch.cat(xs), torch.cat(ys), torch.cat(ws)[:, None]
        gram = (x * w).T @ x + 1e-2 * len(x) / x.shape[1] * torch.eye(x.shape[1])
        solution = torch.linalg.solve(gram, (x * w).T @ y)
        model.model.embed_vision.embedding_projection.weight.copy_(solution.T)
        return float(1 - (x @ solution - y).pow(2).sum() / y.pow(2).sum())


def train_joint(args, model, tok):
    core = model.model
    text, heads = batches.Text(tok), Heads(core.vision_tower.config.hidden_size)
    opt = Optimiser([(n, p) for n, p in core.named_parameters()] + [("heads.embed_tokens." + n, p) for n, p in heads.named_parameters()],
                    matrix_lr=args.lr, other_lr=args.other_lr)
    log = Log(args.work / "joint.log")
    path, start = args.work / "joint.pt", 0
    if path.exists():
        s = torch.load(path, weights_only=True)
        core.load_state_dict(s["model"]), heads.load_state_dict(s["heads"])
        if not args.restart:
            opt.load_state_dict(s["opt"])
            start = s["step"]
    else:
        s, d = torch.load(args.work / "tower.pt", weights_only=True), torch.load(args.work / "decoder.pt", weights_only=True)
        core.vision_tower.load_state_dict(s["tower"]), heads.load_state_dict(s["heads"]), core.language_model.load_state_dict(d["lm"])
        codebook = torch.nn.Linear(batches.code_size(), core.language_model.config.hidden_size, bias=False)
        codebook.load_state_dict(d["codebook"])
        log(fit=fit_projection(model, codebook, np.random.default_rng((args.seed, 3))), tower_steps=s["step"], decoder_steps=d["step"])
    mean, at = None, len(text.front)
    for step in range(start, args.steps):
        rng = np.random.default_rng((args.seed, 4, step, int(args.restart)))
        h, w = batches.GRIDS[(0, 1, 0, 2, 0, 3)[step % 6]]
        images, targets, ground, ids, target, branch, position, keep = decoder_batch(args, text, rng, (h, w), draw=True)
        pooled = forward.vision(core.vision_tower, batches.patches_of(images), batches.grid_positions(h, w), (h // 16, w // 16))
        dense, right, _ = heads(pooled, torch.from_numpy(targets), torch.from_numpy(ground))
        loss, captions, others = answer_loss(*answers(model, forward.embed_vision(model, pooled), at, ids, target, branch, position, keep))
        (loss + args.dense * dense).backward()
        opt.step(schedule(step, args.steps))
        now = np.array([float(loss.detach()), float(captions), float(others), float(right)])
        mean = now if mean is None else 0.9 * mean + 0.1 * now
        if step % 10 == 9:
            log(step=step + 1, loss=mean[0], captions=mean[1], answers=mean[2], centres=mean[3])
        if step % 50 == 49 or step + 1 == args.steps:
            save(path, model=core.state_dict(), heads=heads.state_dict(), opt=opt.state_dict(), step=step + 1)


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
    p.add_argument("--dense", type=float, default=0.3, help="joint: weight of the dense loss")
    p.add_argument("--restart", action="store_true", help="joint: keep the weights, begin the schedule anew")
    p.add_argument("--compile", action="store_true", help="fuse the vision layers")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    tok = Tokenizer.from_file(str(HERE.parent / "model" / "tokenizer.json"))
    model = sample_model.new_model(sample_model.build_config(tok), args.seed)
    forward.check_against_library(model)
    if args.compile:
        forward.compile_layers()
    model.train()
    {"tower": train_tower, "decoder": train_decoder, "joint": train_joint}[args.phase](args, model, tok)


if __name__ == "__main__":
    main()
