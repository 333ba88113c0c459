"""What the phases of training share: learning rates, losses of answers, logs, checkpoints, averaged weights."""
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import batches
import forward

# What training needs beside samples/model to go on from it: the heads that read the tower's features, and the table of codes.
KEPT_HEADS = Path(__file__).resolve().parent / "heads.safetensors"
# Parameters that hold something for each layer.
PER_LAYER = ("embed_tokens_per_layer.weight", "per_layer_model_projection.weight")


def steps_of(args, start, warm_up=60):
    """(step, rate, last) from `start` on: learning rates rise over `warm_up` steps, stay, and fall over the last 40 % of the way to
    args.steps, or of args.minutes from now on where that end comes first."""
    began = time.time()
    for step in range(start, args.steps):
        # What is left of the way after this step, of 1.
        left = (args.steps - step) / args.steps
        over = False
        if args.minutes is not None:
            seconds = 60 * args.minutes - (time.time() - began)
            left, over = min(left, seconds / (60 * args.minutes)) if seconds > 0 else 0.0, seconds <= 0
        yield step, min(1.0, (step + 1) / warm_up, max(0.02, left / 0.4)), over or step + 1 == args.steps
        if over:
            return


class Average:
    """Running average of a module's weights: the mean over about 1 / (1 - decay) steps, fewer at the start."""

    def __init__(self, module, decay):
        self.module, self.decay, self.steps = module, decay, 0
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @classmethod
    def resumed(cls, module, decay, path, steps):
        """As it was in the checkpoint at `path` after `steps`, if that is not 0."""
        out = cls(module, decay)
        if steps:
            out.steps, out.values = steps, torch.load(path, weights_only=True).get("average", out.values)
        return out

    @torch.no_grad()
    def step(self):
        self.steps += 1
        weight = 1 - min(self.decay, self.steps / (self.steps + 10))
        for k, v in self.module.named_parameters():
            self.values[k].lerp_(v, weight)


class Means:
    """Running means of a loss and of what stands beside it, by kind of step. What a step has no value of (NaN: a batch may ask for no
    language) keeps its mean."""

    def __init__(self, decay):
        self.decay, self.values = decay, {}

    def add(self, kind, loss, *shares):
        now = np.array([float(loss.detach()), *map(float, shares)])
        old = self.values.get(kind, now)
        old, now = np.where(np.isnan(old), now, old), np.where(np.isnan(now), old, now)
        self.values[kind] = self.decay * old + (1 - self.decay) * now

    def rounded(self, digits):
        return {kind: [round(float(x), digits) for x in v] for kind, v in self.values.items()}


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


def answers(model, soft, front, ids, target, branch, position, keep, looks=None):
    """Logits at the places of `target` where there is something to learn, and the targets [B, T]; `looks` as in forward.decoder."""
    window = model.config.text_config.sliding_window
    target = torch.from_numpy(target[:, keep:])
    logits = forward.decoder(model, torch.from_numpy(ids), soft, front, torch.from_numpy(position), batches.masks(branch, position, window), keep, target >= 0, looks)
    return logits, target


def directory_state(path):
    """A model directory as a checkpoint without an optimiser: its weights, and the heads that were kept for it, if any."""
    weights = load_file(path / "model.safetensors")
    state = {"model": {k.removeprefix("model."): v.float() for k, v in weights.items()}, "step": 0}
    state["lm"] = {k.removeprefix("language_model."): v for k, v in state["model"].items() if k.startswith("language_model.")}
    state["tower"] = {k.removeprefix("vision_tower."): v for k, v in state["model"].items() if k.startswith("vision_tower.")}
    if KEPT_HEADS.exists():
        for name, value in load_file(KEPT_HEADS).items():
            module, name = name.split("/")
            state.setdefault(module, {})[name] = value.float()
    return state


def state_of(path):
    return directory_state(path) if path.is_dir() else torch.load(path, weights_only=True)


def checkpoint_hears(path):
    """Whether the model of a checkpoint or a model directory has an audio tower: a run that goes on from it keeps it."""
    return any(k.startswith("audio_tower.") for k in state_of(path).get("model", {}))


def begins_silent(name, known):
    """Whether `name` is a norm that closes a branch of a layer which the checkpoint with the names `known` does not have."""
    layer = re.match(r"(.*layers\.\d+\.)(?:post_\w+norm)\.weight$", name)
    return layer is not None and not any(k.startswith(layer[1]) for k in known)


def grown(own, found):
    """The state `own` of a module with what `found` of a smaller one holds. Layers that are new say nothing at first, so that the model
    computes what the smaller one did; of the tables of Per-Layer Embeddings the rows or columns of new layers keep their first values."""
    out = {}
    for name, value in own.items():
        old = found.get(name)
        if old is None:
            if found and begins_silent(name, found):
                out[name] = torch.zeros_like(value)
        elif old.shape == value.shape:
            out[name] = old
        elif name.endswith(PER_LAYER) and all(a <= b for a, b in zip(old.shape, value.shape)):
            out[name] = value.clone()
            out[name][tuple(slice(n) for n in old.shape)] = old
    return out


def restore(path, opt, averaged=False, **modules):
    """Loads what fits of a checkpoint or a model directory, of one with fewer layers too (`grown`); returns its step, 0 if there is none.
    Parameters that have another shape or did not exist keep their first values, and the optimiser then starts afresh. `averaged`: the
    running average of `model` instead, where there is one."""
    if not path.exists():
        return 0
    state = state_of(path)
    if averaged and "average" in state:
        state["model"] = state["average"]
    same = True
    for name, module in modules.items():
        own, found = module.state_dict(), state.get(name, {})
        same &= all(k in found and found[k].shape == v.shape for k, v in own.items())
        module.load_state_dict(grown(own, found), strict=False)
    if same and opt is not None and "opt" in state:
        opt.load_state_dict(state["opt"])
    return state["step"]
