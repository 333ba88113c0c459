"""Batches of frames for training: pictures, dense targets, and packed token sequences.

One sequence holds a picture once and several conversations about it. Each conversation is a
branch: it sees the picture and itself, and its positions continue from the picture, so that every
branch is exactly the prompt that the chat format gives for a single question.
"""
import numpy as np
import torch

import documents
import frames
import invoice_text

# (height, width) after the resize to 70 soft tokens, for 16:9, 4:3, 1:1 and 3:4 pictures.
GRIDS = ((288, 528), (336, 432), (384, 384), (432, 336))
BRANCH_TOKENS = 160
PAGE_BRANCH_TOKENS = 288
SPEECH_BRANCH_TOKENS = 352
CELLS_OF_A_TOKEN = 4  # as many are told apart where the characters of a token lie in several


class Text:
    """The tokens of the chat format around a picture."""

    def __init__(self, tok):
        self.tok = tok
        self.cache = {}
        self.front = self.encode("<bos><|turn>user\n\n\n<|image>")
        self.back = self.encode("<image|>\n\n")
        self.front_audio = self.encode("<bos><|turn>user\n<|audio>")
        self.back_audio = self.encode("<audio|>")
        self.middle = self.encode("<turn|>\n<|turn>model\n")
        self.end = tok.token_to_id("<turn|>")

    def encode(self, s):
        if s not in self.cache:
            if len(self.cache) > 50000:
                self.cache.clear()
            self.cache[s] = self.tok.encode(s, add_special_tokens=False).ids
        return self.cache[s]

    def cells_of_tokens(self, answer, cells):
        """int64 [tokens + 1, CELLS_OF_A_TOKEN]: the cells in which the characters lie that each token of a Traced answer is read from; -1 where
        there are none. `cells` is what documents.cells_of gives of the page."""
        spans = self.tok.encode(answer, add_special_tokens=False).offsets
        out = np.full((len(spans) + 1, CELLS_OF_A_TOKEN), -1, np.int64)
        for k, (begin, end) in enumerate(spans):
            at = sorted({cells[w] for w in answer.where[begin:end] if w in cells})[:CELLS_OF_A_TOKEN]
            out[k, :len(at)] = at
        return out

    def branch_tokens(self, talk):
        """Positions that a picture's or a sound's conversations take in `pack`."""
        return sum(len(self.encode(q)) + len(self.middle) + len(self.encode(a)) for q, a in talk)

    def pack(self, soft_tokens, conversations, size=BRANCH_TOKENS, front=None, back=None, cells=None):
        """conversations: one list of (question, answer) per picture, or per sound with its `front` and `back` -> ids, targets, branch, positions, all
        [B, S] numpy arrays with S = front + soft + back + size. Targets are -100 where nothing is to be learnt;
        the target at a position is the token after it. Conversations that do not fit are left out. `cells`, one for each page: also gives what
        Traced answers are read from, [B, S, CELLS_OF_A_TOKEN] from `cells_of_tokens` at the position of each target."""
        shared = (front or self.front) + [0] * soft_tokens + (back or self.back)
        keep, B = len(shared), len(conversations)
        S = keep + size
        ids, target = np.zeros((B, S), np.int64), np.full((B, S), -100, np.int64)
        branch, position = np.full((B, S), -1, np.int64), np.zeros((B, S), np.int64)
        read_from = np.full((B, S, CELLS_OF_A_TOKEN), -1, np.int64)
        ids[:, :keep], branch[:, :keep], position[:, :keep] = shared, 0, np.arange(keep)
        for b, talk in enumerate(conversations):
            at = keep
            for k, (question, answer) in enumerate(talk):
                q = self.encode(question) + self.middle
                a = self.encode(answer) + [self.end]
                n = len(q) + len(a) - 1  # the last token is only a target
                if at + n > S:
                    continue
                ids[b, at:at + n] = (q + a)[:-1]
                target[b, at + len(q) - 1:at + n] = a
                branch[b, at:at + n] = k + 1
                position[b, at:at + n] = keep + np.arange(n)
                if cells is not None and isinstance(answer, invoice_text.Traced):
                    read_from[b, at + len(q) - 1:at + n] = self.cells_of_tokens(answer, cells[b])
                at += n
        packed = ids, target, branch, position, keep
        return packed if cells is None else (packed, read_from)


def masks(branch, position, window):
    """bool [B, 1, S, S]: visible keys for full and for sliding layers."""
    branch, position = torch.from_numpy(branch), torch.from_numpy(position)
    S = branch.shape[1]
    causal = torch.ones(S, S, dtype=torch.bool).tril()
    same = (branch[:, :, None] == branch[:, None]) | (branch[:, None] == 0)
    full = causal & same
    sliding = full & (position[:, :, None] - position[:, None] < window)
    return {"full_attention": full[:, None], "sliding_attention": sliding[:, None]}


def patches_of(images):
    """uint8 [B, h, w, 3] -> f32 [B, n, 768] in [0, 1], row-major patches, channel last."""
    B, h, w, _ = images.shape
    x = torch.from_numpy(images).view(B, h // 16, 16, w // 16, 16, 3).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(B, (h // 16) * (w // 16), 768).float() / 255


def grid_positions(h, w, offset=(0, 0)):
    """[1, n, 2] patch positions (x, y)."""
    y, x = torch.meshgrid(torch.arange(h // 16), torch.arange(w // 16), indexing="ij")
    return torch.stack((x + offset[0], y + offset[1]), -1).view(1, -1, 2)


def conversations(rng, scene, wanted=7, hard=False):
    pick = lambda options: str(options[int(rng.integers(0, len(options)))])
    talk = [(pick(frames.CAPTION_PROMPTS), frames.caption(scene))]
    talk += [(q + pick(frames.QUESTION_SUFFIXES), a) for q, a in frames.questions(rng, scene, wanted - 1, hard)]
    return talk


def code_size():
    return 1 + len(frames.SHAPES) + len(frames.COLOURS) + 2 + len(frames.BACKGROUNDS) + 2


def cell_places(size, offset=(0, 0)):
    """f32 [cells, 2]: column and row of each cell of a frame of `size` = (height, width) pixels, scaled to about
    [-1, 1]; `offset` is the patch position of its corner."""
    y, x = np.mgrid[0:size[0] // frames.CELL, 0:size[1] // frames.CELL].astype(np.float32)
    return np.stack(((x + offset[0] / 3) / 4 - 1.2, (y + offset[1] / 3) / 4 - 0.8), -1).reshape(-1, 2)


def codes(targets, background, size):
    """What an ideal vision tower would say of each cell: targets [B, t, 4] from cell_targets, background
    [B] indices -> f32 [B, t, code_size()]: has a centre, shape, colour, 2 x (dx, dy), background, place."""
    shape, colour = targets[..., 0].astype(int), targets[..., 1].astype(int)
    one_hot = lambda v, n: np.eye(n + 1, dtype=np.float32)[v][..., 1:]
    has = (shape > 0)[..., None].astype(np.float32)
    ground = np.broadcast_to(np.eye(len(frames.BACKGROUNDS), dtype=np.float32)[background][:, None], targets.shape[:2] + (len(frames.BACKGROUNDS),))
    place = np.broadcast_to(cell_places(size)[None], targets.shape[:2] + (2,))
    return np.concatenate((has, one_hot(shape, len(frames.SHAPES)), one_hot(colour, len(frames.COLOURS)), 2 * targets[..., 2:] * has, ground, place), -1)


def background_index(frame):
    return list(frames.BACKGROUNDS).index(frame.background)


def text_code_size():
    return documents.SLOTS * len(documents.CHARACTERS) + 2


def text_codes(cells, size):
    """What an ideal tower would say of a page: cells [B, t, SLOTS] from cell_text -> f32 [B, t, text_code_size()]."""
    n = len(documents.CHARACTERS)
    one_hot = np.eye(n + 1, dtype=np.float32)[:, 1:][cells].reshape(*cells.shape[:2], -1)
    place = np.broadcast_to(cell_places(size)[None], cells.shape[:2] + (2,))
    return np.concatenate((one_hot, place), -1)


def page_conversations(rng, invoice, lines, json_share, whole_share):
    """With probability `json_share` the whole extraction, with probability `whole_share` the text of the whole page, then readings
    of single facts."""
    pick = lambda options: str(options[int(rng.integers(0, len(options)))])
    talk = []
    if rng.random() < json_share:
        talk.append((pick(invoice_text.EXTRACT_PROMPTS), invoice_text.to_json(invoice, invoice_text.traced_facts(invoice, lines))))
    if rng.random() < whole_share:
        talk.append((pick(invoice_text.PAGE_PROMPTS), invoice_text.page_text(lines)))
    return talk + [(q + pick(frames.QUESTION_SUFFIXES), a) for q, a in invoice_text.reading_questions(rng, invoice, lines)]
