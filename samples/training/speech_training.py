"""The `speech` phase: an audio tower for a model that sees already.

The tower learns the letters of what is said by connectionist temporal classification (Graves et al. 2006), with a head that is thrown
away; the decoder learns to transcribe from its soft tokens at the same time. Between steps on sound the decoder goes on with frames, over a
vision tower that stays as it is.
"""
import numpy as np
import torch
import torch.nn.functional as F
from transformers import Gemma4AudioFeatureExtractor

import batches
import forward
import speech
from optimiser import Optimiser
from training_loop import Average, Log, answer_loss, answers, restore, save, steps_of

LETTERS = " abcdefghijklmnopqrstuvwxyz"


class Heard:
    """Phrases as mel features [B, frames, 128], all padded with silence to the longest, and their letters."""

    def __init__(self, rng, extractor, count, held_out=False):
        self.phrases = [speech.random_phrase(rng, held_out) for _ in range(count)]
        sounds = [speech.speak(rng, p) for p in self.phrases]
        longest = max(map(len, sounds))
        made = extractor([np.pad(s, (0, longest - len(s))) for s in sounds], sampling_rate=speech.RATE, return_tensors="pt")
        frames = int(made["input_features_mask"][0].sum())
        self.features = made["input_features"][:, :frames].float()
        self.letters = [torch.tensor([1 + LETTERS.index(c) for c in p]) for p in self.phrases]

    def hear(self, tower):
        """What the embedder is handed, [B, soft tokens, output_proj_dims]."""
        mask = torch.ones(self.features.shape[:2], dtype=torch.bool)
        return tower(self.features, mask, return_dict=True).last_hidden_state

    def conversations(self, rng):
        pick = lambda options: str(options[int(rng.integers(0, len(options)))])
        return [[(pick(speech.PROMPTS), speech.written(p))] for p in self.phrases]


def embed_audio(model, heard):
    return forward.linear(forward.norm(heard), model.model.embed_audio.embedding_projection.weight).float()


def letters_loss(head, heard, letters):
    """Loss per letter, and the share of phrases whose likeliest letters, repeats and blanks taken out, are right."""
    scores = head(forward.norm(heard)).log_softmax(-1)
    lengths = torch.tensor([len(l) for l in letters])
    loss = F.ctc_loss(scores.transpose(0, 1), torch.cat(letters), torch.full((len(letters),), scores.shape[1]), lengths, zero_infinity=True)
    best = [torch.unique_consecutive(row) for row in scores.detach().argmax(-1)]
    return loss, sum(torch.equal(b[b > 0], l) for b, l in zip(best, letters)) / len(letters)


def train_speech(args, model, tok, frame_shelves):
    """`frame_shelves`: picture size -> shelf of frames (train.FrameShelf)."""
    core, tower = model.model, model.model.audio_tower
    text = batches.Text(tok)
    head = torch.nn.Linear(tower.config.output_proj_dims, 1 + len(LETTERS))
    seen_already = set(core.vision_tower.parameters())
    named = [(n, p) for n, p in core.named_parameters() if p not in seen_already] + [(f"head.embed_tokens.{n}", p) for n, p in head.named_parameters()]
    opt = Optimiser(named, matrix_lr=args.lr, other_lr=args.other_lr)
    path = args.work / f"{args.name or 'speech'}.pt"
    log = Log(path.with_suffix(".log"))
    start = restore(path, opt, model=core, head=head)
    if not path.exists():
        restore(args.begin, None, averaged=True, model=core)
    average = Average.resumed(core, args.average, path, start)
    extractor, means = Gemma4AudioFeatureExtractor(), {}
    for step, rate, last in steps_of(args, start):
        rng = np.random.default_rng((args.seed, 6, step))
        frame = step >= args.letters_only and rng.random() < args.frames_share
        if frame:
            pooled, packed = frame_shelves[batches.GRIDS[step % len(batches.GRIDS)]].batch(args, text, rng)
            loss, right, others = answer_loss(*answers(model, forward.embed_vision(model, pooled), len(text.front), *packed))
        else:
            made = Heard(rng, extractor, args.batch)
            heard = made.hear(tower)
            loss, others = letters_loss(head, heard, made.letters)
            right = torch.zeros(())
            if step >= args.letters_only:
                packed = text.pack(heard.shape[1], made.conversations(rng), batches.SPEECH_BRANCH_TOKENS, text.front_audio, text.back_audio)
                said, right, _ = answer_loss(*answers(model, embed_audio(model, heard), len(text.front_audio), *packed))
                loss = said + args.dense * loss
        loss.backward()
        opt.step(rate)
        average.step()
        kind = "frame" if frame else "speech"
        now = np.array([float(loss.detach()), float(right), float(others)])
        means[kind] = now if kind not in means else 0.95 * means[kind] + 0.05 * now
        if step % 10 == 9:
            log(step=step + 1, **{k: [round(float(x), 4) for x in v] for k, v in means.items()})
        if step % 50 == 49 or last:
            save(path, model=core.state_dict(), average=average.values, head=head.state_dict(), opt=opt.state_dict(), step=step + 1)
