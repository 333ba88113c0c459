"""Trains the sample model. Every phase resumes from its checkpoint in --work.

    train.py tower   --work DIR    vision tower alone, with dense targets on small frames
    train.py decoder --work DIR    decoder alone, on what an ideal tower would report
    train.py joint   --work DIR    both together, on whole frames, captions and questions
    train.py speech  --work DIR    an audio tower, and the decoder that goes on from --begin

`tower` and `decoder` are independent and may run side by side; `joint` starts from both.
"""
import argparse
import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer

import batches
import documents
import forward
import frames
import invoice_text
import model as sample_model
import speech_training
from optimiser import Optimiser
from training_loop import Average, Log, answer_loss, answers, restore, save, schedule

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


class PageCrops:
    """Windows of pages with their character targets, at their own patch positions; whole pages if `crop` is None."""

    def __init__(self, rng, pages, crop=(4, 5), per_page=6):
        images, cells, patches, positions = [], [], [], []
        for _ in range(pages):
            page = random_page(rng)[1]
            image, by_cell, by_patch = documents.render_page(rng, page), documents.cell_text(page), documents.patch_text(page)
            rows, columns = page.height // 48, page.width // 48
            by_cell, by_patch = by_cell.reshape(rows, columns, -1), by_patch.reshape(rows * 3, columns * 3)
            h, w = crop or (rows, columns)
            for _ in range(per_page if crop else 1):
                y, x = int(rng.integers(0, rows - h + 1)), int(rng.integers(0, columns - w + 1))
                images.append(image[48 * y:48 * (y + h), 48 * x:48 * (x + w)])
                cells.append(by_cell[y:y + h, x:x + w].reshape(h * w, -1))
                patches.append(by_patch[3 * y:3 * (y + h), 3 * x:3 * (x + w)].reshape(-1))
                positions.append(batches.grid_positions(48 * h, 48 * w, (3 * x, 3 * y)))
        self.images, self.grid = np.stack(images), (3 * h, 3 * w)
        self.cells, self.patches, self.positions = torch.from_numpy(np.stack(cells)), torch.from_numpy(np.stack(patches)), torch.cat(positions)

    def see(self, tower):
        return forward.vision(tower, batches.patches_of(self.images), self.positions, self.grid)


def random_page(rng, held_out=False):
    """An invoice, the page that shows it, and its lines."""
    invoice = invoice_text.random_invoice(rng, held_out)
    lines = invoice_text.printed_lines(rng, invoice)
    return invoice, documents.typeset(rng, lines), lines


class Pages:
    """Whole pages with conversations about them; like Made, with pictures only if `draw`."""

    def __init__(self, rng, count, json_share, draw=True, held_out=False):
        made = [random_page(rng, held_out) for _ in range(count)]
        self.size = documents.PAGE
        self.images = np.stack([documents.render_page(rng, page) for _, page, _ in made]) if draw else None
        self.cells = torch.from_numpy(np.stack([documents.cell_text(page) for _, page, _ in made]))
        self.patches = torch.from_numpy(np.stack([documents.patch_text(page) for _, page, _ in made])) if draw else None
        self.facts = [(invoice, lines) for invoice, _, lines in made]
        self.talk = [batches.page_conversations(rng, *facts, json_share) for facts in self.facts]

    def see(self, tower):
        h, w = self.size
        return forward.vision(tower, batches.patches_of(self.images), batches.grid_positions(h, w), (h // 16, w // 16))

    def codes(self):
        return torch.from_numpy(batches.text_codes(self.cells.numpy(), self.size))

    def packed(self, text):
        return text.pack(self.cells.shape[1], self.talk, batches.PAGE_BRANCH_TOKENS)


class Made:
    """A batch of frames: pictures uint8 [B, h, w, 3] (None if not drawn) and their dense targets."""

    def __init__(self, rng, made, draw=True, offset=(0, 0), resize=True):
        self.size = made[0].height, made[0].width
        self.images = np.stack([(picture if resize else frames.render)(rng, f) for f in made]) if draw else None
        self.cells = torch.from_numpy(np.stack([frames.cell_targets(f) for f in made]))
        self.patches = torch.from_numpy(np.stack([frames.patch_targets(f) for f in made])) if draw else None
        self.ground = torch.tensor([batches.background_index(f) for f in made])
        self.offset = offset
        self.places = torch.from_numpy(batches.cell_places(self.size, offset))

    def see(self, tower):
        """Pooled and patch features."""
        h, w = self.size
        return forward.vision(tower, batches.patches_of(self.images), batches.grid_positions(h, w, self.offset), (h // 16, w // 16))

    def codes(self):
        return torch.from_numpy(batches.codes(self.cells.numpy(), self.ground.numpy(), self.size))


def picture(rng, frame):
    """The frame as the image processor would hand it on: half of them drawn at another size and resized."""
    if rng.random() < 0.5:
        return frames.render(rng, frame)
    k = rng.uniform(0.75, 2.2)
    drawn = frames.render(rng, frames.scaled(frame, (round(frame.height * k * rng.uniform(0.96, 1.04)), round(frame.width * k))))
    return np.asarray(Image.fromarray(drawn).resize((frame.width, frame.height), Image.BICUBIC))


def batch_of_scatter(rng, size, count, offset):
    return Made(rng, [frames.scatter(rng, size) for _ in range(count)], offset=offset, resize=False)


def batch_of_scenes(rng, size, count, draw=True, questions=7, held_out=False, hard=False):
    scenes = [frames.random_scene(rng, held_out, hard=hard) for _ in range(count)]
    made = Made(rng, [frames.lay_out(rng, s, size) for s in scenes], draw)
    return made, [batches.conversations(rng, s, questions, hard) for s in scenes]


class Shelf:
    """Pictures whose pooled features are kept, so that a decoder over a tower that stays as it is trains at twice the pace:
    every batch draws a few new ones and then takes any of those that were kept, with new conversations about them."""

    def __init__(self, tower, most):
        self.tower, self.most, self.kept, self.oldest = tower, most, [], 0

    def draw(self, rng, count, hard):
        """(what the conversations are made of, pooled features) of new pictures."""
        raise NotImplementedError

    @torch.no_grad()
    def add(self, rng, count, hard=False):
        for new in self.draw(rng, count, hard):
            if len(self.kept) < self.most:
                self.kept.append(new)
            else:
                self.kept[self.oldest] = new
                self.oldest = (self.oldest + 1) % self.most

    def pick(self, rng, count):
        return [self.kept[int(i)] for i in rng.permutation(len(self.kept))[:count]]


class FrameShelf(Shelf):
    def __init__(self, tower, size, most=1500):
        super().__init__(tower, most)
        self.size = size

    def draw(self, rng, count, hard):
        scenes = [frames.random_scene(rng, hard=hard) for _ in range(count)]
        return zip(scenes, Made(rng, [frames.lay_out(rng, s, self.size) for s in scenes]).see(self.tower)[0])

    def batch(self, args, text, rng):
        """Pooled features [batch, cells, hidden] and the packed conversations."""
        hard = rng.random() < args.hard_share
        self.add(rng, args.fresh if self.kept else 8 * args.batch, hard)
        chosen = self.pick(rng, args.batch)
        talk = [batches.conversations(rng, scene, hard=hard) for scene, _ in chosen]
        return torch.stack([pooled for _, pooled in chosen]), text.pack(chosen[0][1].shape[0], talk)


def frame_shelves(tower):
    return {size: FrameShelf(tower, size) for size in batches.GRIDS}


class PageShelf(Shelf):
    def __init__(self, tower, most=2000):
        super().__init__(tower, most)

    def draw(self, rng, count, hard):
        pages = Pages(rng, count, 0.0)
        return zip(pages.facts, pages.see(self.tower)[0])

    def batch(self, args, text, rng):
        """The same of pages, half as many."""
        self.add(rng, args.fresh if self.kept else 8 * args.batch)
        chosen = self.pick(rng, max(2, args.batch // 2))
        talk = [batches.page_conversations(rng, *facts, args.json_share) for facts, _ in chosen]
        return torch.stack([pooled for _, pooled in chosen]), text.pack(chosen[0][1].shape[0], talk, batches.PAGE_BRANCH_TOKENS)


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
    log, size, means = Log(path.with_suffix(".log")), (192, 240), {}
    for step in range(start, args.steps):
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
        opt.step(schedule(step, args.steps))
        now = np.array([float(loss.detach()), *map(float, right)])
        means[kind] = now if kind not in means else 0.9 * means[kind] + 0.1 * now
        if step % 20 == 19:
            log(step=step + 1, **{k: [round(float(x), 3) for x in v] for k, v in means.items()})
        if step % 50 == 49 or step + 1 == args.steps:
            save(path, tower=tower.state_dict(), heads=heads.state_dict(), text_heads=text_heads.state_dict(), opt=opt.state_dict(), step=step + 1)


def new_codebook(model):
    codebook = torch.nn.Linear(batches.code_size(), model.config.text_config.hidden_size, bias=False)
    torch.nn.init.normal_(codebook.weight, 0, 0.5)
    return codebook


def decoder_batch(args, text, rng, size, draw):
    made, talk = batch_of_scenes(rng, size, args.batch, draw, hard=rng.random() < args.hard_share)
    return made, text.pack((size[0] // 48) * (size[1] // 48), talk)


def new_text_codebook(model):
    codebook = torch.nn.Linear(batches.text_code_size(), model.config.text_config.hidden_size, bias=False)
    torch.nn.init.normal_(codebook.weight, 0, 0.7)
    return codebook


def train_decoder(args, model, tok):
    lm = model.model.language_model
    text, codebook, text_codebook = batches.Text(tok), new_codebook(model), new_text_codebook(model)
    opt = Optimiser([("lm." + n, p) for n, p in lm.named_parameters()] + [("codebook.embed_tokens", codebook.weight), ("text_codebook.embed_tokens", text_codebook.weight)],
                    matrix_lr=args.lr, other_lr=args.other_lr)
    path = args.work / "decoder.pt"
    start = restore(path, opt, lm=lm, codebook=codebook, text_codebook=text_codebook)
    log, means, at = Log(args.work / "decoder.log"), {}, len(text.front)
    for step in range(start, args.steps):
        rng = np.random.default_rng((args.seed, 2, step))
        kind = "page" if step >= args.pages_from and step % 3 != 0 else "frame"
        if kind == "page":
            made = Pages(rng, max(2, args.batch // 2), args.json_share, draw=False)
            packed, book = made.packed(text), text_codebook
        else:
            made, packed = decoder_batch(args, text, rng, batches.GRIDS[step % len(batches.GRIDS)], draw=False)
            book = codebook
        code = made.codes()
        code = code + torch.randn_like(code) * (args.code_noise if kind == "frame" else 0.05)
        loss, first, others = answer_loss(*answers(model, book(code), at, *packed))
        loss.backward()
        opt.step(schedule(step, args.steps))
        now = np.array([float(loss.detach()), float(first), float(others)])
        means[kind] = now if kind not in means else 0.95 * means[kind] + 0.05 * now
        if step % 20 == 19:
            log(step=step + 1, **{k: [round(float(x), 4) for x in v] for k, v in means.items()})
        if step % 50 == 49 or step + 1 == args.steps:
            save(path, lm=lm.state_dict(), codebook=codebook.state_dict(), text_codebook=text_codebook.state_dict(), opt=opt.state_dict(), step=step + 1)


def fit_projection(model, frame_target, page_target, rng, count=12):
    """Least squares from the tower's features to the soft tokens that the decoder knows: `frame_target(made)` and, unless
    it is None, `page_target(made)`, both [B, cells, hidden]. Returns the explained share."""
    xs, ys, ws = [], [], []
    with torch.no_grad():
        for i in range(4 * count):
            page = page_target is not None and i % 2 == 1
            made = Pages(rng, 3, 0.0) if page else batch_of_scenes(rng, batches.GRIDS[i // 2 % len(batches.GRIDS)], 4, questions=1)[0]
            xs.append(forward.norm(made.see(model.model.vision_tower)[0]).flatten(0, 1))
            ys.append((page_target if page else frame_target)(made).flatten(0, 1))
            ws.append(torch.where(made.cells[..., 0] > 0, 3.0, 1.0).flatten())
        x, y, w = torch.cat(xs), torch.cat(ys), torch.cat(ws)[:, None]
        gram = (x * w).T @ x + 1e-2 * len(x) / x.shape[1] * torch.eye(x.shape[1])
        solution = torch.linalg.solve(gram, (x * w).T @ y)
        model.model.embed_vision.embedding_projection.weight.copy_(solution.T)
        return float(1 - (x @ solution - y).pow(2).sum() / y.pow(2).sum())


def first_joint(args, model, heads, text_heads, log):
    """Where a new joint run begins: the tower and the decoder that were trained apart, or another joint run (--begin), with its
    own tower or with one that was trained further (--tower) and is fitted to say what the old one said."""
    core, rng = model.model, np.random.default_rng((args.seed, 3))
    books = new_codebook(model), new_text_codebook(model)
    page_target = (lambda made: books[1](made.codes())) if args.pages_share > 0 else None
    if args.begin is None:
        steps = (restore(args.work / "tower.pt", None, tower=core.vision_tower, heads=heads, text_heads=text_heads),
                 restore(args.work / "decoder.pt", None, lm=core.language_model, codebook=books[0], text_codebook=books[1]))
        log(explained=fit_projection(model, lambda made: books[0](made.codes()), page_target, rng), tower_steps=steps[0], decoder_steps=steps[1])
        return
    restore(args.begin, None, averaged=True, model=core, heads=heads, text_heads=text_heads)
    if args.tower is not None:
        teacher = copy.deepcopy(model)
        steps = restore(args.tower, None, tower=core.vision_tower, heads=heads, text_heads=text_heads)
        log(explained=fit_projection(model, lambda made: forward.embed_vision(teacher, made.see(teacher.model.vision_tower)[0]), page_target, rng), tower_steps=steps)


def train_joint(args, model, tok):
    core = model.model
    width = core.vision_tower.config.hidden_size
    text, heads, text_heads = batches.Text(tok), Heads(width), TextHeads(width)
    named = list(core.named_parameters()) + [(f"heads.embed_tokens.{k}.{n}", p) for k, h in enumerate((heads, text_heads)) for n, p in h.named_parameters()]
    opt = Optimiser(named, matrix_lr=args.lr, other_lr=args.other_lr)
    path = args.work / f"{args.name or 'joint'}.pt"
    log = Log(path.with_suffix(".log"))
    start = restore(path, opt, model=core, heads=heads, text_heads=text_heads)
    if not path.exists():
        first_joint(args, model, heads, text_heads, log)
    average = Average.resumed(core, args.average, path, start)
    shelves = frame_shelves(core.vision_tower) | {"page": PageShelf(core.vision_tower)}
    means, at = {}, len(text.front)
    for step in range(start, args.steps):
        rng = np.random.default_rng((args.seed, 4, step))
        kind = "page" if rng.random() < args.pages_share else "frame"
        size = batches.GRIDS[(0, 1, 0, 2, 0, 3)[step % 6]]
        if args.fixed_tower:
            pooled, packed = shelves["page" if kind == "page" else size].batch(args, text, rng)
            dense, right = 0.0, ()
        else:
            if kind == "page":
                made = Pages(rng, max(2, args.batch // 2), args.json_share)
                packed, reader = made.packed(text), text_heads
            else:
                made, packed = decoder_batch(args, text, rng, size, draw=True)
                reader = heads
            pooled, patches = made.see(core.vision_tower)
            dense, *right = reader(pooled, patches, made)
        loss, first, others = answer_loss(*answers(model, forward.embed_vision(model, pooled), at, *packed))
        (loss + args.dense * dense).backward()
        opt.step(schedule(step, args.steps))
        average.step()
        now = np.array([float(loss.detach()), float(first), float(others), *map(float, right[:1])])
        means[kind] = now if kind not in means else 0.95 * means[kind] + 0.05 * now
        if step % 10 == 9:
            log(step=step + 1, **{k: [round(float(x), 4) for x in v] for k, v in means.items()})
        if step % 50 == 49 or step + 1 == args.steps:
            save(path, model=core.state_dict(), average=average.values, heads=heads.state_dict(), text_heads=text_heads.state_dict(), opt=opt.state_dict(), step=step + 1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("phase", choices=("tower", "decoder", "joint", "speech"))
    p.add_argument("--work", type=Path, required=True, help="folder of checkpoints and logs")
    p.add_argument("--steps", type=int, default=3000)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--lr", type=float, default=0.02, help="of weight matrices")
    p.add_argument("--other-lr", type=float, default=3e-3, help="of tables and norms")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--code-noise", type=float, default=0.15)
    p.add_argument("--whole-from", type=int, default=400, help="tower: first step that also sees whole frames")
    p.add_argument("--pages-from", type=int, default=1200, help="tower, decoder: first step that also sees pages")
    p.add_argument("--whole-pages-after", type=int, default=400, help="tower: page steps after which some pages are seen whole")
    p.add_argument("--keep", type=float, default=10.0, help="tower, with --begin: weight of staying with what frames looked like to that checkpoint")
    p.add_argument("--json-share", type=float, default=0.3, help="share of pages whose whole extraction is asked for")
    p.add_argument("--dense", type=float, default=0.3, help="joint, speech: weight of the dense loss")
    p.add_argument("--pages-share", type=float, default=0.0, help="joint: share of the steps that show pages")
    p.add_argument("--hard-share", type=float, default=0.0, help="decoder, joint: share of the frame steps that draw what is hard more often")
    p.add_argument("--average", type=float, default=0.99, help="joint, speech: decay of the running average of the weights, which is what export.py takes")
    p.add_argument("--name", help="tower, joint, speech: name of the checkpoint, if not that of the phase")
    p.add_argument("--begin", type=Path, help="tower, joint, speech: checkpoint of another joint run to begin from, with a new schedule")
    p.add_argument("--tower", type=Path, help="joint, with --begin: checkpoint of a tower to take instead")
    p.add_argument("--letters-only", type=int, default=600, help="speech: first steps that train the audio tower alone")
    p.add_argument("--frames-share", type=float, default=0.3, help="speech: share of the steps after that which show frames")
    p.add_argument("--fixed-tower", action="store_true", help="joint: leave the tower as it is and keep its features of earlier frames")
    p.add_argument("--fresh", type=int, default=2, help="speech, and joint with --fixed-tower: new pictures a step")
    p.add_argument("--compile", action="store_true", help="fuse the vision layers")
    args = p.parse_args()
    if args.phase == "speech" and args.begin is None:
        p.error("speech needs --begin")
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    tok = Tokenizer.from_file(str(HERE.parent / "model" / "tokenizer.json"))
    model = sample_model.new_model(sample_model.build_config(tok, audio=args.phase == "speech"), args.seed)
    forward.check_against_library(model)
    if args.compile:
        forward.compile_layers()
    model.train()
    if args.phase == "speech":
        speech_training.train_speech(args, model, tok, frame_shelves(model.model.vision_tower))
    else:
        {"tower": train_tower, "decoder": train_decoder, "joint": train_joint}[args.phase](args, model, tok)


if __name__ == "__main__":
    main()
