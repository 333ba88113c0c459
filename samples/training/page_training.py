"""The `pages` phase: a decoder that answers about frames learns to read documents.

First from codes alone (`--codes-share 1`): what an ideal tower would report of each cell, through a random table. That costs no pictures,
and the decoder learns where on a page to look. Then over a real tower (`--tower`) that stays as it is, whose embedder starts as the
least-squares map to that table.

Attention is supervised. The generator knows on which cell each character of an answer stands, and one head of each full layer is
asked to look there when the token with that character is due (`--guide`). Copying digits is not found in reasonable time without it.
"""
import copy

import numpy as np
import torch

import batches
import forward
import invoice_text
import material
from codebooks import fit_projection, new_text_codebook
from optimiser import Optimiser
from training_loop import Average, Log, Means, answer_loss, answers, restore, save, steps_of

PROBE_EVERY, PROBED_PAGES = 100, 48


def looked(looks, read_from, front):
    """Mean of -log of the attention that falls on the cells which a token is read from, over the tokens that are read from somewhere and the
    layers of `looks` [B, T, S]; read_from [B, T, k] has cells or -1; `front` is where the picture begins."""
    known = read_from[..., 0] >= 0
    at = read_from[known]
    total = 0.0
    for weights in looks:
        seen = (weights[known].gather(1, at.clamp(min=0) + front) * (at >= 0)).sum(-1)
        total = total - (seen + 1e-6).log().mean()
    return total / len(looks)


class PageShelf(material.Shelf):
    """Pages; with a tower of their pooled features, without one of their codes' cells alone."""

    def __init__(self, tower, held_out=False, most=3000):
        super().__init__(tower, most)
        self.held_out = held_out

    def draw(self, rng, count, hard):
        pages = material.Pages(rng, count, draw=self.tower is not None, held_out=self.held_out)
        pooled = [None] * count if self.tower is None else pages.see(self.tower)[0]
        return zip(pages.facts, pages.cells, pooled)

    def soft_tokens(self, chosen, model, book=None, noise=0.0):
        if self.tower is not None:
            return forward.embed_vision(model, torch.stack([pooled for *_, pooled in chosen]))
        code = torch.from_numpy(batches.text_codes(np.stack([cells for _, cells, _ in chosen]), material.Pages.size))
        return book(code + torch.randn_like(code) * noise)

    def step(self, args, model, rng, book=None):
        """Soft tokens of a batch of pages, conversations about them, and the cells of their characters (documents.cells_of)."""
        self.add(rng, args.fresh if self.kept else 8 * args.batch)
        chosen = self.pick(rng, max(2, args.batch // 2))
        talk = [batches.page_conversations(rng, *facts[:2], args.json_share, args.whole_share) for facts, *_ in chosen]
        return self.soft_tokens(chosen, model, book, args.page_code_noise), talk, [facts[2] for facts, *_ in chosen]


def page_loss(model, text, soft, talk, cells):
    """Loss of the answers, of the attention, and of the answers the share of first ones, others, and tokens read off the page that are right."""
    packed, read_from = text.pack(soft.shape[1], talk, batches.PAGE_BRANCH_TOKENS, cells=cells)
    looks, keep = [], packed[-1]
    logits, target = answers(model, soft, len(text.front), *packed, looks=looks)
    loss, first, others = answer_loss(logits, target)
    read_from = torch.from_numpy(read_from[:, keep:])
    copied = (read_from[..., 0] >= 0)[target >= 0]
    right = (logits.detach().argmax(-1) == target[target >= 0])[copied].float().mean()
    return loss, looked(looks, read_from, len(text.front)), first, others, right


@torch.no_grad()
def probe(model, text, shelf, book):
    """Share of held-out answers whose every token is right given the ones before it, by name."""
    right, total = {}, {}
    for begin in range(0, PROBED_PAGES, 8):
        chosen = shelf.kept[begin:begin + 8]
        asked = [list(invoice_text.fixed_questions(facts[0]).items()) for facts, *_ in chosen]
        talk = [[(q + "\nAnswer with a word or a short phrase.", a) for _, (q, a) in named]
                + [(invoice_text.EXTRACT_PROMPTS[0], invoice_text.to_json(facts[0]))] for named, (facts, *_) in zip(asked, chosen)]
        soft = shelf.soft_tokens(chosen, model, book, 0.0)
        packed = text.pack(soft.shape[1], talk, 400)
        logits, target = answers(model, soft, len(text.front), *packed)
        branch = torch.from_numpy(packed[2][:, packed[-1]:])
        inside = target >= 0
        wrong = logits.argmax(-1) != target[inside]
        row = torch.nonzero(inside)[:, 0]
        for b, named in enumerate(asked):
            for k, name in enumerate([n for n, _ in named] + ["json"]):
                mine = (row == b) & (branch[inside] == k + 1)
                if mine.any():
                    right[name] = right.get(name, 0) + int(not wrong[mine].any())
                    total[name] = total.get(name, 0) + 1
    return {n: round(right[n] / total[n], 3) for n in total}


def begin(args, model, book, log):
    """Loads --begin; with --tower, that tower, and the embedder that makes it say what the old one said of frames and the table says of pages."""
    core = model.model
    restore(args.begin, None, averaged=True, model=core, text_codebook=book)
    if args.tower is not None:
        teacher = copy.deepcopy(model)
        steps = restore(args.tower, None, tower=core.vision_tower)
        of_frames = lambda made: forward.embed_vision(teacher, made.see(teacher.model.vision_tower)[0])
        explained = fit_projection(model, of_frames, lambda made: book(made.codes()), np.random.default_rng((args.seed, 3)))
        log(explained=explained, tower_steps=steps)


def train_pages(args, model, tok):
    core = model.model
    text, book = batches.Text(tok), new_text_codebook(model)
    still = set(core.vision_tower.parameters())
    named = [(n, p) for n, p in core.named_parameters() if p not in still] + [("text_codebook.embed_tokens", book.weight)]
    opt = Optimiser(named, matrix_lr=args.lr, other_lr=args.other_lr)
    path = args.work / f"{args.name or 'pages'}.pt"
    log = Log(path.with_suffix(".log"))
    start = restore(path, opt, model=core, text_codebook=book)
    if not path.exists():
        begin(args, model, book, log)
    average = Average.resumed(core, args.average, path, start)
    by_code = args.codes_share > 0
    of_frames = material.frame_shelves(core.vision_tower)
    of_pages = ({"code": PageShelf(None)} if by_code else {}) | ({"page": PageShelf(core.vision_tower)} if args.codes_share < 1 else {})
    held = PageShelf(core.vision_tower if args.codes_share < 1 else None, held_out=True)
    held.add(np.random.default_rng(98), PROBED_PAGES)
    means = Means(0.95)
    for step, rate, last in steps_of(args, start):
        rng = np.random.default_rng((args.seed, 7, step))
        kind = "frame" if rng.random() < args.frames_share else "code" if rng.random() < args.codes_share else "page"
        if kind == "frame":
            pooled, packed = of_frames[batches.GRIDS[(0, 1, 0, 2, 0, 3)[step % 6]]].batch(args, text, rng)
            loss, *shares = answer_loss(*answers(model, forward.embed_vision(model, pooled), len(text.front), *packed))
        else:
            loss, away, *shares = page_loss(model, text, *of_pages[kind].step(args, model, rng, book))
            shares.append(away.detach())
            loss = loss + args.guide * away
        loss.backward()
        opt.step(rate)
        average.step()
        means.add(kind, loss, *shares)
        if step % 20 == 19:
            log(step=step + 1, **means.rounded(4))
        if step % PROBE_EVERY == PROBE_EVERY - 1:
            log(step=step + 1, held_out=probe(model, text, held, book))
        if step % 50 == 49 or last:
            save(path, model=core.state_dict(), average=average.values, text_codebook=book.state_dict(), opt=opt.state_dict(), step=step + 1)
