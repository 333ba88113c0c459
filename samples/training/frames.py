"""Synthetic video frames: a few coloured shapes on a plain background, with a caption,
questions and dense targets for the vision tower.

    spec = random_scene(rng)                 what is in the frame, in words
    frame = lay_out(rng, spec, (288, 528))   where it is, in pixels
    image = render(rng, frame)               uint8 [height, width, 3]
    caption(spec), questions(rng, spec)      what the model is to say

Every function draws from the generator it is given and from nothing else, so a seed
fixes the material. A scene is held out from training by its caption
(`is_held_out`): no caption of the held-out set is ever seen in training, whatever
the seeds are. Needs numpy and Pillow.
"""
import hashlib
import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SHAPES = ("circle", "square", "triangle", "star", "cross")
PLURALS = {"circle": "circles", "square": "squares", "triangle": "triangles", "star": "stars", "cross": "crosses"}
COLOURS = {
    "red": (214, 40, 38), "green": (44, 160, 60), "blue": (40, 90, 220), "yellow": (245, 215, 40),
    "orange": (250, 135, 20), "purple": (140, 50, 170), "white": (246, 246, 246), "black": (18, 18, 18),
}
BACKGROUNDS = {
    "grey": (128, 128, 128), "white": (248, 248, 248), "black": (10, 10, 10),
    "beige": (226, 208, 170), "navy": (16, 28, 92), "pink": (248, 178, 196),
}
# Pairs a person would struggle to see.
TOO_CLOSE = {("white", "white"), ("black", "black"), ("white", "beige"), ("yellow", "beige"), ("yellow", "white"),
             ("black", "navy"), ("blue", "navy"), ("purple", "navy"), ("orange", "beige")}
# Chances of one, two and three shapes in a group; training may draw what is hard to count more often.
COUNT_CHANCES, HARD_COUNT_CHANCES = (0.5, 0.3, 0.2), (0.3, 0.3, 0.4)
# Chances of the kinds of `questions` when training asks more of what is often answered wrongly: counts, colours, what is there.
HARD_QUESTION_CHANCES = (0.08, 0.13, 0.18, 0.02, 0.18, 0.05, 0.17, 0.06, 0.08, 0.05)
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
PLACES = ("on the left", "on the right", "at the top", "at the bottom", "in the middle")

# Per soft token of the vision tower: what `cell_targets` describes.
CELL = 48

# Radius of a shape in pixels of the resized frame (budget 70: about 161,000 pixels).
MIN_RADIUS, MAX_RADIUS = 27.0, 50.0

CAPTION_PROMPTS = (
    "Describe the image.", "Describe this image.", "Describe the picture.", "Describe this frame.", "Describe the frame.",
    "Describe the scene.", "Caption this image.", "What is in the image?", "What can be seen in the picture?",
    "Describe this image in one sentence.", "Write a short caption for this image.",
    "Describe the image in one sentence.", "Describe what is visible in one sentence.",
    "Describe what is shown in one or two sentences.", "Describe what is shown.", "Describe the shapes in the picture.",
)
# What the `ask` stage puts after a question by default, and other ways to say it.
QUESTION_SUFFIXES = ("", "\nAnswer with a word or a short phrase.", " Answer in one word.", "\nAnswer briefly.")


@dataclass(frozen=True)
class Group:
    count: int
    colour: str
    shape: str

    def phrase(self):
        if self.count == 1:
            return f"{'an' if self.colour[0] in 'aeiou' else 'a'} {self.colour} {self.shape}"
        return f"{NUMBERS[self.count]} {self.colour} {PLURALS[self.shape]}"


@dataclass(frozen=True)
class Scene:
    """`relation` holds between the first and the second group; `place` is for one group."""
    background: str
    groups: tuple
    relation: str = ""  # "left of" or "above", with two groups
    place: str = ""     # one of PLACES, with one group


@dataclass
class Shape:
    shape: str
    colour: str
    x: float
    y: float
    radius: float
    angle: float  # radians
    group: int


@dataclass
class Frame:
    width: int
    height: int
    background: str
    shapes: list = field(default_factory=list)


def caption(scene):
    if not scene.groups:
        return f"an empty {scene.background} background"
    if len(scene.groups) == 1:
        of = f"{scene.place} of a {scene.background} background"
        return f"{scene.groups[0].phrase()} {of}"
    a, b = scene.groups
    return f"{a.phrase()} {scene.relation} {b.phrase()} on a {scene.background} background"


def is_held_out(scene):
    """One caption in ten, by a hash of its words. The few empty frames are in both sets."""
    if not scene.groups:
        return False
    return hashlib.sha256(caption(scene).encode()).digest()[0] < 26


def random_scene(rng, held_out=False, max_groups=2, hard=False):
    """A scene of the training set, or of the held-out set. `hard`: larger groups, groups that share shape or colour, and single groups,
    whose place has to be named, are more frequent."""
    chances = np.array(HARD_COUNT_CHANCES if hard else COUNT_CHANCES)
    while True:
        background = str(rng.choice(list(BACKGROUNDS)))
        usable = [c for c in COLOURS if (c, background) not in TOO_CLOSE]
        kind = rng.random()
        if kind < 0.03 and not held_out:
            return Scene(background, ())
        groups = []
        wanted = 1 if kind < (0.45 if hard else 0.35) or max_groups == 1 else 2
        while len(groups) < wanted:
            count = 1 + int(rng.choice(len(chances), p=chances / chances.sum()))
            g = Group(count, str(rng.choice(usable)), str(rng.choice(SHAPES)))
            if hard and groups and rng.random() < 0.3:
                g = Group(count, groups[0].colour, g.shape) if rng.random() < 0.5 else Group(count, g.colour, groups[0].shape)
            if any((h.colour, h.shape) == (g.colour, g.shape) for h in groups):
                continue
            groups.append(g)
        if wanted == 1:
            scene = Scene(background, tuple(groups), place=str(rng.choice(PLACES)))
        else:
            scene = Scene(background, tuple(groups), relation=str(rng.choice(("left of", "above"))))
        if is_held_out(scene) == held_out:
            return scene


def _place_group(rng, count, box, radius, taken):
    """Centres of `count` shapes inside `box` that touch neither each other nor `taken`; None if there is no room."""
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return None
    centres = []
    for _ in range(count):
        for _ in range(40):
            x, y = rng.uniform(x0, x1), rng.uniform(y0, y1)
            if all(math.hypot(x - a, y - b) > radius + r + 8 + 0.15 * radius for a, b, r in taken + [(c[0], c[1], radius) for c in centres]):
                centres.append((x, y))
                break
        else:
            return None
    return centres


def lay_out(rng, scene, size, scale=1.0):
    """Places the shapes of `scene` in a frame of `size` = (height, width) pixels, so that
    the words of the caption are true beyond doubt. `scale` multiplies the shape sizes."""
    height, width = size
    while True:
        frame = Frame(width, height, scene.background)
        radii = [rng.uniform(MIN_RADIUS, MAX_RADIUS) * scale for _ in scene.groups]
        rel, gap = scene.relation, 14 * scale
        boxes = []
        for i, r in enumerate(radii):
            m = 1.2 * r + 6 * scale
            box = [m, m, width - m, height - m]
            if rel == "left of":
                split = width * 0.5
                box[2 if i == 0 else 0] = split - m - gap if i == 0 else split + m + gap
            elif rel == "above":
                split = height * 0.5
                box[3 if i == 0 else 1] = split - m - gap if i == 0 else split + m + gap
                # A group above another must not also be beside it.
                box[0], box[2] = max(box[0], width * 0.22), min(box[2], width * 0.78)
            else:
                box = {"on the left": [m, height * 0.25, width * 0.30, height * 0.75],
                       "on the right": [width * 0.70, height * 0.25, width - m, height * 0.75],
                       "at the top": [width * 0.27, m, width * 0.73, height * 0.28],
                       "at the bottom": [width * 0.27, height * 0.72, width * 0.73, height - m],
                       "in the middle": [width * 0.36, height * 0.36, width * 0.64, height * 0.64]}[scene.place]
                box = [box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)]
            boxes.append(box)
        taken, ok = [], True
        for i, (g, box, r) in enumerate(zip(scene.groups, boxes, radii)):
            centres = _place_group(rng, g.count, box, r, taken)
            if centres is None:
                ok = False
                break
            taken += [(x, y, r) for x, y in centres]
            for x, y in centres:
                frame.shapes.append(Shape(g.shape, g.colour, x, y, r, random_angle(rng, g.shape), i))
        if not ok:
            scale *= 0.97  # crowded: slightly smaller shapes
            continue
        if len(scene.groups) == 2:
            ax, ay = _mean(frame, 0)
            bx, by = _mean(frame, 1)
            if rel == "left of" and abs(by - ay) > 0.8 * (bx - ax):
                continue
            if rel == "above" and abs(bx - ax) > 0.8 * (by - ay):
                continue
        return frame


def scaled(frame, size, shift=(0.0, 0.0)):
    """The same frame at `size` = (height, width), its shapes moved by `shift` pixels."""
    kx, ky = size[1] / frame.width, size[0] / frame.height
    k = math.sqrt(kx * ky)
    out = Frame(size[1], size[0], frame.background)
    out.shapes = [Shape(s.shape, s.colour, s.x * kx + shift[0], s.y * ky + shift[1], s.radius * k, s.angle, s.group) for s in frame.shapes]
    return out


def _mean(frame, group):
    s = [s for s in frame.shapes if s.group == group]
    return sum(o.x for o in s) / len(s), sum(o.y for o in s) / len(s)


def random_angle(rng, shape):
    return float(rng.uniform(-0.16, 0.16)) if shape != "star" else float(rng.uniform(-0.3, 0.3))


def scatter(rng, size, max_shapes=5):
    """Unrelated shapes anywhere in a small frame: material for the vision tower alone."""
    height, width = size
    background = str(rng.choice(list(BACKGROUNDS)))
    usable = [c for c in COLOURS if (c, background) not in TOO_CLOSE]
    frame = Frame(width, height, background)
    for _ in range(int(rng.integers(2, max_shapes + 1))):
        r = rng.uniform(MIN_RADIUS * 0.85, MAX_RADIUS)
        for _ in range(20):
            x, y = rng.uniform(0.6 * r, width - 0.6 * r), rng.uniform(0.6 * r, height - 0.6 * r)
            if all(math.hypot(x - s.x, y - s.y) > r + s.radius + 8 for s in frame.shapes):
                shape = str(rng.choice(SHAPES))
                frame.shapes.append(Shape(shape, str(rng.choice(usable)), x, y, r, random_angle(rng, shape), 0))
                break
    return frame


def outline(shape):
    """Polygon of the shape around (0, 0) with radius about 1, [n, 2]."""
    if shape == "circle":
        a = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        return 0.94 * np.stack([np.cos(a), np.sin(a)], 1)
    if shape == "square":
        return 0.84 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)
    if shape == "triangle":
        a = -math.pi / 2 + np.arange(3) * 2 * math.pi / 3
        return 1.12 * np.stack([np.cos(a), np.sin(a)], 1) + (0, 0.16)
    if shape == "star":
        a = -math.pi / 2 + np.arange(10) * math.pi / 5
        r = np.where(np.arange(10) % 2 == 0, 1.12, 0.46)
        return r[:, None] * np.stack([np.cos(a), np.sin(a)], 1)
    w = 0.34
    return np.array([(-w, -1), (w, -1), (w, -w), (1, -w), (1, w), (w, w), (w, 1), (-w, 1), (-w, w), (-1, w), (-1, -w), (-w, -w)], float)


def jittered(rng, rgb, amount):
    return tuple(int(np.clip(c + rng.uniform(-amount, amount), 0, 255)) for c in rgb)


def draw_shape(image, s, rgb):
    """Draws one antialiased shape onto an RGB image."""
    half = int(math.ceil(1.25 * s.radius)) + 2
    x0, y0 = int(math.floor(s.x)) - half, int(math.floor(s.y)) - half
    side, k = 2 * half + 1, 4
    mask = Image.new("L", (side * k, side * k), 0)
    c, n = math.cos(s.angle), math.sin(s.angle)
    points = outline(s.shape) * s.radius
    points = np.stack([points[:, 0] * c - points[:, 1] * n + s.x - x0, points[:, 0] * n + points[:, 1] * c + s.y - y0], 1) * k
    ImageDraw.Draw(mask).polygon([tuple(p) for p in points], fill=255)
    image.paste(rgb, (x0, y0), mask.reduce(k))


def render(rng, frame, noise=True):
    """uint8 [height, width, 3]. `noise` adds what cameras and codecs add."""
    image = Image.new("RGB", (frame.width, frame.height), jittered(rng, BACKGROUNDS[frame.background], 7 if noise else 0))
    tints = {}
    for s in frame.shapes:
        tint = tints.setdefault((s.group, s.colour), jittered(rng, COLOURS[s.colour], 12 if noise else 0))
        draw_shape(image, s, tint)
    if noise and rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.4)))
    a = np.asarray(image)
    if noise and rng.random() < 0.5:
        sigma = rng.uniform(0.5, 5)
        a = a.astype(np.float32) + rng.standard_normal(a.shape, dtype=np.float32) * sigma
        a = np.clip(a + 0.5, 0, 255).astype(np.uint8)
    return a


def cell_targets(frame):
    """Dense targets, one row per 48 x 48 cell in row-major order:
    (shape index + 1, colour index + 1, dx, dy) of the shape whose centre lies in the cell, zeros elsewhere.
    dx and dy run from -0.5 to 0.5 across the cell."""
    rows, columns = frame.height // CELL, frame.width // CELL
    out = np.zeros((rows * columns, 4), np.float32)
    for s in frame.shapes:
        cx, cy = int(s.x // CELL), int(s.y // CELL)
        if 0 <= cx < columns and 0 <= cy < rows:
            out[cy * columns + cx] = (SHAPES.index(s.shape) + 1, list(COLOURS).index(s.colour) + 1, s.x / CELL - cx - 0.5, s.y / CELL - cy - 0.5)
    return out


def patch_targets(frame):
    """The same for each 16 x 16 patch, about the shape that covers it: (shape, colour, dx, dy), where dx and dy
    lead from the patch to the centre of the shape, in cells; zeros on the background."""
    y, x = np.mgrid[8:frame.height:16, 8:frame.width:16].astype(np.float32)
    out = np.zeros((*x.shape, 4), np.float32)
    for s in frame.shapes:
        covered = (x - s.x) ** 2 + (y - s.y) ** 2 < s.radius ** 2
        out[covered] = np.stack((np.full_like(x, SHAPES.index(s.shape) + 1), np.full_like(x, list(COLOURS).index(s.colour) + 1),
                                 (s.x - x) / CELL, (s.y - y) / CELL), -1)[covered]
    return out.reshape(-1, 4)


def _number(n):
    return NUMBERS[n] if n else "zero"


def questions(rng, scene, wanted, hard=False):
    """`wanted` (question, answer) pairs, of mixed kinds; `hard`: with HARD_QUESTION_CHANCES."""
    out = []
    groups, total = scene.groups, sum(g.count for g in scene.groups)
    while len(out) < wanted:
        kind = int(rng.choice(10, p=HARD_QUESTION_CHANCES)) if hard else int(rng.integers(0, 10))
        colour, shape = str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES))
        g = groups[int(rng.integers(0, len(groups)))] if groups else None
        if g is not None and rng.random() < 0.6:
            colour, shape = g.colour, g.shape
        if kind == 0:
            q = (str(rng.choice(("How many shapes are there?", "How many shapes are in the picture?", "How many objects are visible?"))), _number(total))
        elif kind == 1:
            q = (f"How many {PLURALS[shape]} are there?", _number(sum(h.count for h in groups if h.shape == shape)))
        elif kind == 2:
            q = (f"How many {colour} shapes are there?", _number(sum(h.count for h in groups if h.colour == colour)))
        elif kind == 3:
            q = (str(rng.choice(("What colour is the background?", "Which colour is the background?"))), scene.background)
        elif kind == 4 and g and sum(h.shape == g.shape for h in groups) == 1:
            q = (f"What colour is the {g.shape}?" if g.count == 1 else f"What colour are the {PLURALS[g.shape]}?", g.colour)
        elif kind == 5 and g and sum(h.colour == g.colour for h in groups) == 1:
            q = (f"What shape is {g.colour}?" if g.count == 1 else f"Which shapes are {g.colour}?", g.shape if g.count == 1 else PLURALS[g.shape])
        elif kind == 6:
            if rng.random() < 0.5 and g:  # near misses half of the time
                colour, shape = (g.colour, shape) if rng.random() < 0.5 else (colour, g.shape)
                if rng.random() < 0.4:
                    colour, shape = g.colour, g.shape
            a = Group(1, colour, shape).phrase()
            q = (f"Is there {a}?", "yes" if any((h.colour, h.shape) == (colour, shape) for h in groups) else "no")
        elif kind == 7 and len(groups) == 2:
            a, b = groups
            word, back = ("left of", "right of") if scene.relation == "left of" else ("above", "below")
            the = lambda h: f"the {h.colour} {h.shape if h.count == 1 else PLURALS[h.shape]}"
            q = (f"What is {word} {the(b)}?", a.phrase()) if rng.random() < 0.5 else (f"What is {back} {the(a)}?", b.phrase())
        elif kind == 8 and len(groups) == 2:
            a, b = groups
            the = lambda h: f"the {h.colour} {h.shape if h.count == 1 else PLURALS[h.shape]}"
            word, back = ("left of", "right of") if scene.relation == "left of" else ("above", "below")
            first, second, w = [(a, b, word), (b, a, back), (b, a, word), (a, b, back)][int(rng.integers(0, 4))]
            true = (w == word) == (first is a)
            verb = "Is" if first.count == 1 else "Are"
            q = (f"{verb} {the(first)} {w} {the(second)}?", "yes" if true else "no")
        elif kind == 9:
            word = str(rng.choice(("Which shapes are visible?", "Which objects are visible?", "What shapes are in the picture?")))
            q = (word, " and ".join(h.phrase() for h in groups) or "none")
        else:
            continue
        if q[0] not in [p[0] for p in out]:
            out.append(q)
    return out


def fixed_questions(scene):
    """name -> (question, answer): questions that fit every frame."""
    total = sum(g.count for g in scene.groups)
    has = lambda colour, shape: "yes" if any((g.colour, g.shape) == (colour, shape) for g in scene.groups) else "no"
    return {
        "count": ("How many shapes are there?", _number(total)),
        "background": ("Which colour is the background?", scene.background),
        "shapes": ("Which shapes are visible?", " and ".join(g.phrase() for g in scene.groups) or "none"),
        "red_circle": ("Is there a red circle?", has("red", "circle")),
    }
