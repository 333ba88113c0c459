"""Pictures of invoices and receipts in large print, drawn from invoice_text.py.

    page = typeset(rng, lines, size)     where each piece of text stands
    render_page(rng, page)               uint8 [height, width, 3]
    cell_text(page), patch_text(page)    dense targets: which characters lie in each cell and patch
    cells_of(page)                       in which cell each printed character lies

Needs numpy, Pillow and the DejaVu and Liberation fonts (Debian: fonts-dejavu, fonts-liberation).
"""
import functools
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

# (height, width) after the resize of a 4:3 portrait page to 140 soft tokens.
PAGE = (624, 480)
FONT_ROOT = Path("/usr/share/fonts/truetype")
FAMILIES = (
    ("dejavu/DejaVuSans.ttf", "dejavu/DejaVuSans-Bold.ttf"),
    ("dejavu/DejaVuSansCondensed.ttf", "dejavu/DejaVuSansCondensed-Bold.ttf"),
    ("dejavu/DejaVuSerifCondensed.ttf", "dejavu/DejaVuSerifCondensed-Bold.ttf"),
    ("dejavu/DejaVuSansMono.ttf", "dejavu/DejaVuSansMono-Bold.ttf"),
    ("liberation/LiberationSans-Regular.ttf", "liberation/LiberationSans-Bold.ttf"),
    ("liberation/LiberationSerif-Regular.ttf", "liberation/LiberationSerif-Bold.ttf"),
)


@functools.lru_cache(maxsize=512)
def font(file, size):
    return ImageFont.truetype(str(FONT_ROOT / file), size)


@dataclass
class Piece:
    text: str
    x: float      # left end
    y: float      # baseline
    file: str
    size: int
    place: tuple = (0, 0)  # line, and its left (0) or right (1) text


@dataclass
class Page:
    height: int
    width: int
    pieces: list = field(default_factory=list)
    rules: list = field(default_factory=list)  # y of horizontal lines
    angle: float = 0.0                         # degrees, about the middle


def typeset(rng, lines, size=PAGE, family=None):
    """Places lines of (left text, right text, size factor, bold, ...) on a page, as large as they fit."""
    height, width = size
    regular, bold = FAMILIES[int(rng.integers(0, len(FAMILIES)))] if family is None else family
    margin = width * rng.uniform(0.05, 0.08)
    pitch = min((height - 2 * margin) / (sum(l[2] for l in lines) + 0.6), height * 0.105)
    base = pitch * rng.uniform(0.52, 0.62)
    page = Page(height, width, angle=float(rng.normal(0, 0.7)) if rng.random() < 0.5 else 0.0)
    centred = rng.random() < 0.3
    y = margin + rng.uniform(0, height - 2 * margin - pitch * sum(l[2] for l in lines)) * 0.5
    for index, (left, right, factor, heavy, *_) in enumerate(lines):
        file = bold if heavy else regular
        px = int(base * factor)
        while px > 8 and font(file, px).getlength(left) + font(file, px).getlength(right) + (px if right else 0) > width - 2 * margin:
            px -= 1
        f = font(file, px)
        baseline = y + 0.75 * pitch * factor
        x = (width - f.getlength(left)) / 2 if centred and not right else margin
        page.pieces.append(Piece(left, x, baseline, file, px, (index, 0)))
        if right:
            page.pieces.append(Piece(right, width - margin - f.getlength(right), baseline, file, px, (index, 1)))
        y += pitch * factor
        if heavy and rng.random() < 0.2:
            page.rules.append(y)
    return page


def render_page(rng, page, noise=True):
    ink = int(rng.uniform(0, 70)) if noise else 0
    paper = int(rng.uniform(225, 255)) if noise else 255
    image = Image.new("L", (page.width, page.height), paper)
    draw = ImageDraw.Draw(image)
    for p in page.pieces:
        draw.text((p.x, p.y), p.text, fill=ink, font=font(p.file, p.size), anchor="ls")
    for y in page.rules:
        draw.line((page.width * 0.06, y, page.width * 0.94, y), fill=ink, width=2)
    if page.angle:
        image = image.rotate(page.angle, Image.BICUBIC, fillcolor=paper)
    if noise and rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
    a = np.asarray(image)
    if noise and rng.random() < 0.5:
        a = np.clip(a + rng.standard_normal(a.shape, dtype=np.float32) * rng.uniform(1, 8), 0, 255).astype(np.uint8)
    return np.repeat(a[:, :, None], 3, 2)


def character_centres(page):
    """[(character, x, y, place)] with the page's rotation applied, in reading order; place is (line, side, index)."""
    c, s = math.cos(math.radians(-page.angle)), math.sin(math.radians(-page.angle))
    out = []
    for p in page.pieces:
        f = font(p.file, p.size)
        for i, ch in enumerate(p.text):
            if ch == " ":
                continue
            x = p.x + (f.getlength(p.text[:i]) + f.getlength(p.text[:i + 1])) / 2 - page.width / 2
            y = p.y - 0.36 * p.size - page.height / 2
            out.append((ch, x * c - y * s + page.width / 2, x * s + y * c + page.height / 2, (*p.place, i)))
    return out


CHARACTERS = "".join(chr(c) for c in range(33, 127)) + "€£"
SLOTS = 5  # characters of a cell that are told apart


def index_of(character):
    """1.. for known characters; 0 stands for none."""
    return CHARACTERS.index(character) + 1


def cell_text(page, cell=48):
    """int64 [rows * columns, SLOTS]: the characters whose centre lies in each cell, in reading order, then zeros."""
    rows, columns = page.height // cell, page.width // cell
    out, used = np.zeros((rows * columns, SLOTS), np.int64), np.zeros(rows * columns, int)
    for ch, x, y, _ in character_centres(page):
        if 0 <= x < columns * cell and 0 <= y < rows * cell:
            at = int(y // cell) * columns + int(x // cell)
            if used[at] < SLOTS:
                out[at, used[at]] = index_of(ch)
                used[at] += 1
    return out


def cells_of(page, cell=48):
    """(line, side, index) -> the cell in which that character has its centre."""
    rows, columns = page.height // cell, page.width // cell
    return {place: int(y // cell) * columns + int(x // cell) for _, x, y, place in character_centres(page)
            if 0 <= x < columns * cell and 0 <= y < rows * cell}


def patch_text(page, patch=16):
    """int64 [rows * columns]: the character whose centre is nearest to the middle of each patch, within half a
    patch to the side and a patch up or down; 0 where there is none."""
    rows, columns = page.height // patch, page.width // patch
    out, best = np.zeros(rows * columns, np.int64), np.full(rows * columns, np.inf)
    for ch, x, y, _ in character_centres(page):
        column = int(x // patch)
        for row in range(max(0, int(y // patch) - 1), min(rows, int(y // patch) + 2)):
            away = abs(row * patch + patch / 2 - y)
            if 0 <= column < columns and away < patch:
                distance = math.hypot(away, column * patch + patch / 2 - x)
                if distance < best[row * columns + column]:
                    out[row * columns + column], best[row * columns + column] = index_of(ch), distance
    return out
