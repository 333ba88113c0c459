"""The `speech` phase: an audio tower for a model that sees already.

The tower learns the letters of what is said by connectionist temporal classification (Graves et al. 2006), with a head that is thrown
away. Then the decoder learns to transcribe from its soft tokens, and to tell speech from other sounds. Its attention is supervised as that on pages
is: where the likeliest letters are the right ones, they tell in which soft tokens each word is heard. Between steps on sound
the decoder goes on with frames and pages, over a vision tower that stays as it is.
"""
import numpy as np
import torch
import torch.nn.functional as F
from transformers import Gemma4AudioFeatureExtractor

import batches
import forward
import material
import speech
from optimiser import Optimiser
from page_training import PageShelf, looked, page_loss
from training_loop import Average, Log, Means, answer_loss, answers, restore, save, steps_of

LETTERS = " abcdefghijklmnopqrstuvwxyz"
PROBE_EVERY, PROBED_SOUNDS = 100, 64
NO_SPEECH_SHARE = 0.08


class Sound:
    """What is said (nothing where nobody speaks), as text and as indices of letters, and its mel features [frames, 128]."""

    def __init__(self, rng, extractor, held_out=False):
        said = [] if rng.random() < NO_SPEECH_SHARE else speech.random_phrases(rng, held_out)
        samples = speech.speak(rng, said) if said else speech.no_speech(rng)
        made = extractor([samples], sampling_rate=speech.RATE, return_tensors="pt")
        self.text = " ".join(said)
        self.letters = torch.tensor([1 + LETTERS.index(c) for c in self.text], dtype=torch.long)
        self.features = made["input_features"][0, made["input_features_mask"][0].bool()].float()

    def conversations(self, rng):
        pick = lambda options: str(options[int(rng.integers(0, len(options)))])
        talk = [(pick(speech.PROMPTS), speech.written(self.text))]
        if rng.random() < 0.5:
            talk.append(speech.language_question(self.text))
        return talk


class SoundShelf(material.Shelf):
    """Sounds that are kept, so that a step has sounds of about the same length to choose from. Their tower learns: its features are not kept."""

    def __init__(self, held_out=False, most=6000):
        super().__init__(None, most)
        self.extractor, self.held_out = Gemma4AudioFeatureExtractor(), held_out
        # Log mel energy of digital silence, which shorter sounds of a batch are filled up with.
        silence = self.extractor([np.zeros(speech.RATE, np.float32)], sampling_rate=speech.RATE, return_tensors="pt")
        self.silence = silence["input_features"][0, 50].float()

    def draw(self, rng, count, hard):
        return (Sound(rng, self.extractor, self.held_out) for _ in range(count))

    def pick(self, rng, count):
        """Sounds of about the same length."""
        near = self.kept[int(rng.integers(0, len(self.kept)))].features.shape[0] * rng.uniform(0.9, 1.1)
        return sorted(super().pick(rng, 8 * count), key=lambda s: abs(s.features.shape[0] - near))[:count]

    def batch(self, sounds):
        """f32 [B, frames, 128], as long as the longest."""
        longest = max(s.features.shape[0] for s in sounds)
        return torch.stack([torch.cat((s.features, self.silence.expand(longest - s.features.shape[0], -1))) for s in sounds])


def hear(tower, features):
    """What the embedder is handed, [B, soft tokens, output_proj_dims], of features [B, frames, 128]."""
    return tower(features, torch.ones(features.shape[:2], dtype=torch.bool), return_dict=True).last_hidden_state


def embed_audio(model, heard):
    return forward.linear(forward.norm(heard), model.model.embed_audio.embedding_projection.weight).float()


def places_of_letters(best, letters):
    """First soft token of each letter where the likeliest letters, `best` [soft tokens], are `letters` with repeats and blanks taken out;
    otherwise None."""
    begins = (best > 0) & (best != F.pad(best[:-1], (1, 0)))
    at = torch.nonzero(begins)[:, 0]
    return at.tolist() if torch.equal(best[at], letters) else None


def letters_loss(head, heard, sounds):
    """Loss per letter; the places of each sound's letters, or None; the share of sounds with places."""
    scores = head(forward.norm(heard)).log_softmax(-1)
    lengths = torch.tensor([len(s.letters) for s in sounds])
    loss = F.ctc_loss(scores.transpose(0, 1), torch.cat([s.letters for s in sounds]), torch.full((len(sounds),), scores.shape[1]), lengths, zero_infinity=True)
    places = [places_of_letters(row, s.letters) for row, s in zip(scores.detach().argmax(-1), sounds)]
    return loss, places, sum(p is not None for p in places) / len(sounds)


def cells_of_words(text, transcript, phrase, places):
    """As batches.Text.cells_of_tokens: the soft tokens in which the word is heard that each token of a transcript belongs to."""
    words, at = [], 0
    for word in phrase.split(" "):
        cells = places[at:at + len(word)]
        words.append(sorted(set(cells[round(i * (len(cells) - 1) / (batches.CELLS_OF_A_TOKEN - 1))] for i in range(batches.CELLS_OF_A_TOKEN))))
        at += len(word) + 1
    spans = text.tok.encode(transcript, add_special_tokens=False).offsets
    out = np.full((len(spans) + 1, batches.CELLS_OF_A_TOKEN), -1, np.int64)
    for k, (_, end) in enumerate(spans):
        cells = words[transcript[:end].count(" ")]
        out[k, :len(cells)] = cells
    return out


def speech_loss(model, text, soft, sounds, talk, places):
    """Loss of the answers, of the attention (0 where no places are known), and the share of transcripts and of other answers that are right."""
    front, looks = text.front_audio, []
    size = min(batches.SPEECH_BRANCH_TOKENS, max(map(text.branch_tokens, talk)))
    packed = text.pack(soft.shape[1], talk, size, front, text.back_audio)
    keep, read_from = packed[-1], np.full(packed[0].shape + (batches.CELLS_OF_A_TOKEN,), -1, np.int64)
    for b, (sound, at) in enumerate(zip(sounds, places)):
        if at:
            where = cells_of_words(text, talk[b][0][1], sound.text, at)
            first = int(np.argmax(packed[1][b] >= 0))
            read_from[b, first:first + len(where)] = where
    logits, target = answers(model, soft, len(front), *packed, looks=looks)
    loss, first, others = answer_loss(logits, target)
    read_from = torch.from_numpy(read_from[:, keep:])
    away = looked(looks, read_from, len(front)) if (read_from >= 0).any() else torch.zeros(())
    return loss, away, first, others


@torch.no_grad()
def probe(model, text, head, shelf):
    """Share of held-out sounds of which the letters are right, and of transcripts whose every token is right given the ones before it."""
    right = np.zeros(3)
    kept = sorted(shelf.kept, key=lambda s: s.features.shape[0])
    for begin in range(0, len(kept), 8):
        sounds = kept[begin:begin + 8]
        heard = hear(model.model.audio_tower, shelf.batch(sounds))
        _, places, letters = letters_loss(head, heard, sounds)
        talk = [[(speech.PROMPTS[0], speech.written(s.text)), speech.language_question(s.text)] for s in sounds]
        _, _, first, others = speech_loss(model, text, embed_audio(model, heard), sounds, talk, places)
        right += np.array([letters, float(first), float(others)]) * len(sounds)
    return dict(zip(("letters", "transcripts", "language"), (right / len(kept)).round(3).tolist()))


def train_speech(args, model, tok):
    core, tower = model.model, model.model.audio_tower
    text = batches.Text(tok)
    head = torch.nn.Linear(tower.config.output_proj_dims, 1 + len(LETTERS))
    seen_already = set(core.vision_tower.parameters())
    named = [(n, p) for n, p in core.named_parameters() if p not in seen_already] + [(f"head.embed_tokens.{n}", p) for n, p in head.named_parameters()]
    opt = Optimiser(named, matrix_lr=args.lr, other_lr=args.other_lr)
    path = args.work / f"{args.name or 'speech'}.pt"
    log = Log(path.with_suffix(".log"))
    start = restore(path, opt, model=core, letters_head=head)
    if not path.exists():
        restore(args.begin, None, averaged=True, model=core, letters_head=head)
    average = Average.resumed(core, args.average, path, start)
    of_frames, of_pages, of_sounds, held = material.frame_shelves(core.vision_tower), PageShelf(core.vision_tower), SoundShelf(), SoundShelf(held_out=True)
    held.add(np.random.default_rng(97), PROBED_SOUNDS)
    means = Means(0.95)
    for step, rate, last in steps_of(args, start):
        rng = np.random.default_rng((args.seed, 6, step))
        kind = "letters"
        if step >= args.letters_only:
            draw = rng.random()
            kind = "frame" if draw < args.frames_share else "page" if draw < args.frames_share + args.pages_share else "speech"
        if kind == "frame":
            pooled, packed = of_frames[batches.GRIDS[step % len(batches.GRIDS)]].batch(args, text, rng)
            loss, *shares = answer_loss(*answers(model, forward.embed_vision(model, pooled), len(text.front), *packed))
        elif kind == "page":
            loss, *shares = page_loss(model, text, *of_pages.step(args, model, rng))
            loss, shares = loss + args.guide * shares[0], shares[1:]
        else:
            of_sounds.add(rng, args.batch if of_sounds.kept else 64 * args.batch)  # cheap to make, and soon known by heart
            sounds = of_sounds.pick(rng, args.batch)
            heard = hear(tower, of_sounds.batch(sounds))
            loss, places, share = letters_loss(head, heard, sounds)
            shares = [share]
            if kind == "speech":
                said, away, *told = speech_loss(model, text, embed_audio(model, heard), sounds, [s.conversations(rng) for s in sounds], places)
                loss, shares = said + args.guide * away + args.dense * loss, told + [share, away.detach()]
        loss.backward()
        opt.step(rate)
        average.step()
        means.add(kind, loss, *shares)
        if step % 20 == 19:
            log(step=step + 1, **means.rounded(4))
        if step % PROBE_EVERY == PROBE_EVERY - 1:
            log(step=step + 1, held_out=probe(model, text, head, held))
        if step % 50 == 49 or last:
            save(path, model=core.state_dict(), average=average.values, letters_head=head.state_dict(), opt=opt.state_dict(), step=step + 1)
