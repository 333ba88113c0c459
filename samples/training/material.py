"""What the phases of training draw: pictures of frames and pages, their dense targets, and shelves of features that are kept."""
import numpy as np
import torch
from PIL import Image

import batches
import documents
import forward
import frames
import invoice_text


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
                # Of three windows the one that shows most: much of a page is blank.
                corners = [(int(rng.integers(0, rows - h + 1)), int(rng.integers(0, columns - w + 1))) for _ in range(3)]
                y, x = max(corners, key=lambda c: np.count_nonzero(by_cell[c[0]:c[0] + h, c[1]:c[1] + w]))
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
    """Whole pages, with pictures only if `draw`; like Made. `facts` are (invoice, lines, documents.cells_of the page)."""

    size = documents.PAGE

    def __init__(self, rng, count, draw=True, held_out=False):
        made = [random_page(rng, held_out) for _ in range(count)]
        self.images = np.stack([documents.render_page(rng, page) for _, page, _ in made]) if draw else None
        self.cells = torch.from_numpy(np.stack([documents.cell_text(page) for _, page, _ in made]))
        self.facts = [(invoice, lines, documents.cells_of(page)) for invoice, page, lines in made]

    def see(self, tower):
        """Pooled and patch features."""
        h, w = self.size
        return forward.vision(tower, batches.patches_of(self.images), batches.grid_positions(h, w), (h // 16, w // 16))

    def codes(self):
        return torch.from_numpy(batches.text_codes(self.cells.numpy(), self.size))


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
