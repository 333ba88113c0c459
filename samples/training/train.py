"""Trains the sample model. Every phase resumes from its checkpoint in --work.

    train.py tower   --work DIR    vision tower alone, with dense targets on small frames
    train.py decoder --work DIR    decoder alone, on what an ideal tower would report
    train.py joint   --work DIR    both together, on whole frames, captions and questions
    train.py pages   --work DIR    the decoder learns to read documents, going on from --begin
    train.py speech  --work DIR    an audio tower, and the decoder that goes on from --begin

`tower` and `decoder` are independent and may run side by side; `joint` starts from both.
"""
import argparse
import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import batches
import documents
import forward
import frames
import model as sample_model
import page_training
import speech_training
from codebooks import fit_projection, new_codebook
from material import Made, PageCrops, batch_of_scatter, batch_of_scenes, frame_shelves
from optimiser import Optimiser
from training_loop import Average, Log, Means, answer_loss, answers, checkpoint_hears, restore, save, steps_of

HERE = Path(__file__).resolve().parent


class Heads(torch.nn.Module):
    """Read the dense targets off the patch features and the pooled features during training; thrown away
    afterwards. Patches say what covers them and where its centre is; cells say whether they hold a centre."""

    def __init__(self, width):
        super().__init__()
        size = 1 + len(frames.SHAPES) + 1 + len(frames.COLOURS) + 2
        self.patch = torch.nn.Linear(width, size)
        self.cell = torch.nn.Linear(width, size)
        self.ground = torch.nn.Linear(width, len(frames.BACKGROUNDS))
        self.place = torch.nn.Linear(width, 2)

    @staticmethod
    def objects(z, targets, weight_of_nothing):
        """Loss, and the share of targets with an object for which shape and colour are both right."""
        n = 1 + len(frames.SHAPES)
        z, targets = z.flatten(0, 1), targets.flatten(0, 1)
        shape, colour = targets[:, 0].long(), targets[:, 1].long()
        has = shape > 0
        weight = torch.where(has, 1.0, weight_of_nothing)
        loss = F.cross_entropy(z[:, :n], shape, reduction="none") + F.cross_entropy(z[:, n:-2], colour, reduction="none")
        loss = (loss * weight).sum() / weight.sum() + ((z[:, -2:] - 2 * targets[:, 2:]).pow(2).sum(-1) * has).sum() / has.sum().clamp(min=1)
        right = (z[:, :n].argmax(-1) == shape) & (z[:, n:-2].argmax(-1) == colour)
        return loss, (right & has).sum() / has.sum().clamp(min=1), right.float().mean()

    def forward(self, pooled, patches, made):
        """`made` is a Made. Returns the loss and, of the cells with a centre, of all cells and of the covered patches, the share that is right."""
        x = forward.norm(pooled)
        cells, centres, right = self.objects(self.cell(x), made.cells, 0.25)
        covered, patch_right, _ = self.objects(self.patch(forward.norm(patches)), made.patches, 0.5)
        ground = F.cross_entropy(self.ground(x).flatten(0, 1), made.ground.repeat_interleave(x.shape[1]))
        place = (self.place(x) - made.places).pow(2).sum(-1).mean()
        return cells + covered + ground + place, centres, right, patch_right


class TextHeads(torch.nn.Module):
    """Read the characters of a page off the features during training; thrown away afterwards."""

    def __init__(self, width):
        super().__init__()
        self.classes = 1 + len(documents.CHARACTERS)
        self.patch = torch.nn.Linear(width, self.classes)
        self.cell = torch.nn.Linear(width, documents.SLOTS * self.classes)

    def forward(self, pooled, patches, made):
        """Loss, and the share of characters that are right, by cell and by patch."""
        def part(z, target, weight_of_nothing):
            has = target > 0
            weight = torch.where(has, 1.0, weight_of_nothing)
            loss = (F.cross_entropy(z, target, reduction="none") * weight).sum() / weight.sum()
            return loss, ((z.argmax(-1) == target) & has).sum() / has.sum().clamp(min=1)

        by_cell, cell_right = part(self.cell(forward.norm(pooled)).view(-1, self.classes), made.cells.flatten(), 0.15)
        by_patch, patch_right = part(self.patch(forward.norm(patches)).flatten(0, 1), made.patches.flatten(), 0.15)
        return by_cell + by_patch, cell_right, patch_right


def train_tower(args, model, tok):
    tower = model.model.vision_tower
    heads, text_heads = Heads(tower.config.hidden_size), TextHeads(tower.config.hidden_size)
    named = [("tower." + n, p) for n, p in tower.named_parameters()]
    named += [(f"heads.embed_tokens.{k}.{n}", p) for k, h in enumerate((heads, text_heads)) for n, p in h.named_parameters()]
    opt = Optimiser(named, matrix_lr=args.lr, other_lr=args.other_lr)
    path = args.work / f"{args.name or 'tower'}.pt"
    start = restore(path, opt, tower=tower, heads=heads, text_heads=text_heads)
    before = None
    if args.begin is not None:
        before = copy.deepcopy(model)
        restore(args.begin, None, averaged=True, model=before.model)
        if not path.exists():
            restore(args.begin, None, averaged=True, model=model.model, heads=heads, text_heads=text_heads)
    log, size, means = Log(path.with_suffix(".log")), (192, 240), Means(0.9)
    for step, rate, last in steps_of(args, start):
        rng = np.random.default_rng((args.seed, 1, step))
        kind = "crop"
        if step >= args.pages_from and step % 4 != 0:
            kind = "whole page" if step % 16 == 3 and step >= args.pages_from + args.whole_pages_after else "page"
        elif step >= args.whole_from and step % 8 in (3, 4):
            kind = "whole"
        if kind == "crop":
            made = batch_of_scatter(rng, size, args.batch, (3 * int(rng.integers(0, 7)), 3 * int(rng.integers(0, 6))))
        elif kind == "whole":
            made, _ = batch_of_scenes(rng, batches.GRIDS[(step // 8) % len(batches.GRIDS)], max(4, args.batch // 4), questions=1)
        elif kind == "page":
            made = PageCrops(rng, args.batch // 4)
        else:
            made = PageCrops(rng, args.batch // 4, crop=None)
        pooled, patches = made.see(tower)
        loss, *right = (text_heads if "page" in kind else heads)(pooled, patches, made)
        if before is not None and "page" not in kind:
            with torch.no_grad():
                held = forward.norm(made.see(before.model.vision_tower)[0])
            away = (forward.norm(pooled) - held).pow(2).mean()
            loss, right = loss + args.keep * away, right[:2] + [away.detach()]
        loss.backward()
        opt.step(rate)
        means.add(kind, loss, *right)
        if step % 20 == 19:
            log(step=step + 1, **means.rounded(3))
        if step % 50 == 49 or last:
            save(path, tower=tower.state_dict(), heads=heads.state_dict(), text_heads=text_heads.state_dict(), opt=opt.state_dict(), step=step + 1)


def decoder_batch(args, text, rng, size, draw):
    made, talk = batch_of_scenes(rng, size, args.batch, draw, hard=rng.random() < args.hard_share)
    return made, text.pack((size[0] // 48) * (size[1] // 48), talk)


def train_decoder(args, model, tok):
    lm = model.model.language_model
    text, codebook = batches.Text(tok), new_codebook(model)
    opt = Optimiser([("lm." + n, p) for n, p in lm.named_parameters()] + [("codebook.embed_tokens", codebook.weight)], matrix_lr=args.lr, other_lr=args.other_lr)
    path = args.work / "decoder.pt"
    start = restore(path, opt, lm=lm, codebook=codebook)
    log, means, at = Log(args.work / "decoder.log"), Means(0.95), len(text.front)
    for step, rate, last in steps_of(args, start):
        rng = np.random.default_rng((args.seed, 2, step))
        made, packed = decoder_batch(args, text, rng, batches.GRIDS[step % len(batches.GRIDS)], draw=False)
        code = made.codes()
        loss, first, others = answer_loss(*answers(model, codebook(code + torch.randn_like(code) * args.code_noise), at, *packed))
        loss.backward()
        opt.step(rate)
        means.add("frame", loss, first, others)
        if step % 20 == 19:
            log(step=step + 1, **means.rounded(4))
        if step % 50 == 49 or last:
            save(path, lm=lm.state_dict(), codebook=codebook.state_dict(), opt=opt.state_dict(), step=step + 1)


def first_joint(args, model, heads, log):
    """Where a new joint run begins: the tower and the decoder that were trained apart, or another joint run (--begin), with its
    own tower or with one that was trained further (--tower) and is fitted to say what the old one said."""
    core, rng, codebook = model.model, np.random.default_rng((args.seed, 3)), new_codebook(model)
    if args.begin is None:
        steps = (restore(args.work / "tower.pt", None, tower=core.vision_tower, heads=heads),
                 restore(args.work / "decoder.pt", None, lm=core.language_model, codebook=codebook))
        log(explained=fit_projection(model, lambda made: codebook(made.codes()), None, rng), tower_steps=steps[0], decoder_steps=steps[1])
        return
    restore(args.begin, None, averaged=True, model=core, heads=heads)
    if args.tower is not None:
        teacher = copy.deepcopy(model)
        steps = restore(args.tower, None, tower=core.vision_tower, heads=heads)
        log(explained=fit_projection(model, lambda made: forward.embed_vision(teacher, made.see(teacher.model.vision_tower)[0]), None, rng), tower_steps=steps)


def train_joint(args, model, tok):
    core = model.model
    text, heads = batches.Text(tok), Heads(core.vision_tower.config.hidden_size)
    named = list(core.named_parameters()) + [(f"heads.embed_tokens.{n}", p) for n, p in heads.named_parameters()]
    opt = Optimiser(named, matrix_lr=args.lr, other_lr=args.other_lr)
    path = args.work / f"{args.name or 'joint'}.pt"
    log = Log(path.with_suffix(".log"))
    start = restore(path, opt, model=core, heads=heads)
    if not path.exists():
        first_joint(args, model, heads, log)
    average = Average.resumed(core, args.average, path, start)
    shelves, means, at = frame_shelves(core.vision_tower), Means(0.95), len(text.front)
    for step, rate, last in steps_of(args, start):
        rng = np.random.default_rng((args.seed, 4, step))
        size = batches.GRIDS[(0, 1, 0, 2, 0, 3)[step % 6]]
        if args.fixed_tower:
            pooled, packed = shelves[size].batch(args, text, rng)
            dense, right = 0.0, ()
        else:
            made, packed = decoder_batch(args, text, rng, size, draw=True)
            pooled, patches = made.see(core.vision_tower)
            dense, *right = heads(pooled, patches, made)
        loss, first, others = answer_loss(*answers(model, forward.embed_vision(model, pooled), at, *packed))
        (loss + args.dense * dense).backward()
        opt.step(rate)
        average.step()
        means.add("frame", loss, first, others, *right[:1])
        if step % 10 == 9:
            log(step=step + 1, **means.rounded(4))
        if step % 50 == 49 or last:
            save(path, model=core.state_dict(), average=average.values, heads=heads.state_dict(), opt=opt.state_dict(), step=step + 1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("phase", choices=("tower", "decoder", "joint", "pages", "speech"))
    p.add_argument("--work", type=Path, required=True, help="folder of checkpoints and logs")
    p.add_argument("--steps", type=int, default=3000)
    p.add_argument("--minutes", type=float, help="ends after so much wall-clock time if that is before --steps, with learning rates that fall in time")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--lr", type=float, default=0.02, help="of weight matrices")
    p.add_argument("--other-lr", type=float, default=3e-3, help="of tables and norms")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--code-noise", type=float, default=0.15, help="decoder: deviation of the noise on codes of frames")
    # The 128 numbers of a soft token hold what a page's 482 say of a cell, and the noise of them all: 0.15 hides much of it.
    p.add_argument("--page-code-noise", type=float, default=0.05, help="pages: the same of pages")
    p.add_argument("--whole-from", type=int, default=400, help="tower: first step that also sees whole frames")
    p.add_argument("--pages-from", type=int, default=1200, help="tower: first step that also sees pages")
    p.add_argument("--whole-pages-after", type=int, default=400, help="tower: page steps after which some pages are seen whole")
    p.add_argument("--keep", type=float, default=10.0, help="tower, with --begin: weight of staying with what frames looked like to that checkpoint")
    p.add_argument("--codes-share", type=float, default=0.5, help="pages: share of the page steps that show codes instead of the tower's features")
    p.add_argument("--json-share", type=float, default=0.8, help="pages: share of pages whose whole extraction is asked for")
    p.add_argument("--whole-share", type=float, default=0.1, help="pages: share of pages whose whole text is asked for")
    p.add_argument("--guide", type=float, default=0.2, help="pages, speech: weight of the attention that is asked for")
    p.add_argument("--dense", type=float, default=0.3, help="joint, speech: weight of the dense loss")
    p.add_argument("--hard-share", type=float, default=0.0, help="decoder, joint, pages: share of the frame steps that draw what is hard more often")
    p.add_argument("--average", type=float, default=0.99, help="joint, pages, speech: decay of the running average of the weights, which is what export.py takes")
    p.add_argument("--name", help="tower, joint, pages, speech: name of the checkpoint, if not that of the phase")
    p.add_argument("--begin", type=Path, help="tower, joint, pages, speech: checkpoint of another run, or a model directory, to begin from, with a new schedule")
    p.add_argument("--tower", type=Path, help="joint and pages, with --begin: checkpoint of a tower to take instead")
    p.add_argument("--letters-only", type=int, default=600, help="speech: first steps that train the audio tower alone")
    p.add_argument("--frames-share", type=float, default=0.3, help="pages, speech: share of the steps that show frames; in speech, of those after the letters")
    p.add_argument("--pages-share", type=float, default=0.25, help="speech: share of the steps after the letters that show pages")
    p.add_argument("--fixed-tower", action="store_true", help="joint: leave the tower as it is and keep its features of earlier frames")
    p.add_argument("--fresh", type=int, default=2, help="pages, speech, and joint with --fixed-tower: new pictures a step")
    p.add_argument("--compile", action="store_true", help="fuse the vision layers")
    args = p.parse_args()
    if args.phase in ("pages", "speech") and args.begin is None:
        p.error(f"{args.phase} needs --begin")
    if args.begin is not None and not args.begin.exists():
        p.error(f"{args.begin}: no such checkpoint")
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    tok = Tokenizer.from_file(str(HERE.parent / "model" / "tokenizer.json"))
    hears = args.phase == "speech" or (args.begin is not None and checkpoint_hears(args.begin))
    model = sample_model.new_model(sample_model.build_config(tok, audio=hears), args.seed)
    forward.check_against_library(model)
    if args.compile:
        forward.compile_layers()
    model.train()
    {"tower": train_tower, "decoder": train_decoder, "joint": train_joint, "pages": page_training.train_pages,
     "speech": speech_training.train_speech}[args.phase](args, model, tok)


if __name__ == "__main__":
    main()
