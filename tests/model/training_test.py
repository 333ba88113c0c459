#!/usr/bin/env python3
"""Checks what training on documents and on speech builds on: that the generator knows where each answer stands on its page, that words
are heard where their letters are, and that the attention which is supervised is that of the places so named. Needs a Python with torch,
transformers and Pillow, and the fonts and the espeak-ng of samples/training/README.md; exits with 77 (skipped) where those are missing.
"""
import shutil
import sys
import unittest
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "samples" / "training"))
sys.dont_write_bytecode = True
try:
    import numpy as np
    import torch
    import transformers  # noqa: F401
    from tokenizers import Tokenizer

    import batches
    import documents
    import export
    import forward
    import invoice_text
    import material
    import model as sample_model
    import page_training
    import speech
    import speech_training
    from training_loop import Means, answers, restore, steps_of
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
if not all((documents.FONT_ROOT / f).exists() for family in documents.FAMILIES for f in family):
    print("skipped: fonts are missing")
    sys.exit(77)
if shutil.which("espeak-ng") is None:
    print("skipped: espeak-ng is missing")
    sys.exit(77)

TOKENIZER = Tokenizer.from_file(str(ROOT / "samples" / "model" / "tokenizer.json"))


def pages(count):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield rng, *material.random_page(rng)


class Traces(unittest.TestCase):
    def test_each_character_of_a_fact_is_read_where_it_is_printed(self):
        for _, invoice, _, lines in pages(200):
            facts = invoice_text.traced_facts(invoice, lines)
            self.assertEqual(facts, invoice_text.plain_facts(invoice))
            for name, text in facts.items():
                if text is None or name in ("date", "currency"):
                    continue
                self.assertEqual(text, "".join(lines[line][side][index] for line, side, index in text.where), name)

    def test_dates_are_read_digit_by_digit_or_off_the_name_of_the_month(self):
        forms = set()
        for _, invoice, _, lines in pages(200):
            date = invoice_text.traced_facts(invoice, lines)["date"]
            if date is None:
                continue
            printed = [None if w is None else lines[w[0]][w[1]][w[2]] for w in date.where]
            named = printed[5].isalpha()
            forms.add(named)
            self.assertEqual(printed[:4], list(date[:4]))
            self.assertIsNone(printed[4])
            if named:
                self.assertEqual(printed[5], invoice_text.MONTHS[invoice.date[1] - 1][0])
                self.assertEqual(printed[9], date[9])
            else:
                self.assertEqual(printed[5:7] + printed[8:], list(date[5:7]) + list(date[8:]))
        self.assertEqual(forms, {False, True})

    def test_answers_keep_their_places_and_every_place_has_its_character_in_its_cell(self):
        for rng, invoice, page, lines in pages(50):
            cells, held = documents.cells_of(page), documents.cell_text(page)
            talk = batches.page_conversations(rng, invoice, lines, json_share=1.0, whole_share=1.0)
            for question, answer in talk:
                if not isinstance(answer, invoice_text.Traced):
                    self.assertIn(answer, ("none", "zero", "one", "two", "three"), question)
                    continue
                self.assertEqual(len(answer), len(answer.where))
                for place in filter(None, answer.where):
                    line, side, index = place
                    printed = lines[line][side][index]
                    if printed != " " and np.count_nonzero(held[cells[place]]) < documents.SLOTS:
                        self.assertIn(documents.index_of(printed), held[cells[place]])

    def test_a_token_is_read_from_the_cells_of_its_characters(self):
        text = batches.Text(TOKENIZER)
        answer = invoice_text.traced("total ", invoice_text.Traced("47", [(0, 1, 0), (0, 1, 1)]))
        read_from = text.cells_of_tokens(answer, {(0, 1, 0): 5, (0, 1, 1): 6})
        self.assertEqual(TOKENIZER.encode(answer, add_special_tokens=False).tokens[-2:], ["4", "7"])
        self.assertEqual(read_from[-3:].tolist(), [[5, -1, -1, -1], [6, -1, -1, -1], [-1] * 4])
        self.assertTrue((read_from[:-3] == -1).all())


class Speech(unittest.TestCase):
    def test_a_letter_is_where_its_score_begins_to_lead_and_nowhere_if_a_letter_is_wrong(self):
        best = torch.tensor([0, 3, 3, 0, 5, 4, 4, 0, 4, 0])
        self.assertEqual(speech_training.places_of_letters(best, torch.tensor([3, 5, 4, 4])), [1, 4, 5, 8])
        self.assertIsNone(speech_training.places_of_letters(best, torch.tensor([3, 5, 4])))
        self.assertEqual(speech_training.places_of_letters(torch.zeros(4, dtype=torch.long), torch.tensor([], dtype=torch.long)), [])

    def test_a_token_is_heard_where_the_word_is_that_it_writes(self):
        text = batches.Text(TOKENIZER)
        phrase, transcript = "turn on the fan twenty", "turn on the fan 20"
        self.assertEqual(speech.written(phrase), transcript)
        heard = {"turn": [0, 2, 4, 6], "on": [10, 11], "the": [12, 14, 16], "fan": [20, 21, 22], "20": [30, 34, 36, 40]}
        places = list(range(0, 8, 2)) + [9] + [10, 11] + [11] + [12, 14, 16] + [18] + [20, 21, 22] + [25] + [30, 32, 34, 36, 38, 40]
        cells = speech_training.cells_of_words(text, transcript, phrase, places)
        encoded = TOKENIZER.encode(transcript, add_special_tokens=False)
        self.assertEqual(len(cells), len(encoded.ids) + 1)
        self.assertEqual(cells[-1].tolist(), [-1] * batches.CELLS_OF_A_TOKEN)
        for (begin, end), row in zip(encoded.offsets, cells):
            word = transcript.split(" ")[transcript[:end].count(" ")]
            self.assertEqual([c for c in row if c >= 0], heard[word], transcript[begin:end])

    def test_phrases_come_from_their_own_set_and_sounds_fit_their_budget(self):
        rng = np.random.default_rng(5)
        for held_out in (False, True):
            said = [speech.random_phrases(rng, held_out) for _ in range(200)]
            self.assertEqual({len(s) for s in said}, {1, 2, 3})
            self.assertTrue(all(p in speech.SHORT or speech.is_held_out(p) == held_out for s in said for p in s))
        spans = [f"{begin} {count}" for begin in ("set a timer for", "wake me in", "wait for") for count in speech.COUNTS]
        held = [sum(speech.is_held_out(f"{span} {unit}") for unit in speech.UNITS) for span in spans]
        self.assertLess(max(held), len(speech.UNITS))
        self.assertGreater(sum(held), 0)
        longest = " ".join(["set a timer for eleven seconds"] * 3)
        text = batches.Text(TOKENIZER)
        talk = [(speech.PROMPTS[1], longest), (speech.LANGUAGE_PROMPT, speech.NO_LANGUAGE)]
        self.assertLess(text.branch_tokens(talk), batches.SPEECH_BRANCH_TOKENS)
        _, target, *_ = text.pack(10, [talk], text.branch_tokens(talk), text.front_audio, text.back_audio)
        self.assertEqual(target.max(axis=0)[target.max(axis=0) >= 0].tolist(),
                         text.encode(longest) + [text.end] + text.encode(speech.NO_LANGUAGE) + [text.end])
        for _ in range(20):
            for sound in (speech.no_speech(rng), speech.speak(rng, speech.random_phrases(rng))):
                self.assertEqual(sound.dtype, np.float32)
                self.assertTrue(0.01 < np.abs(sound).max() <= 1)
                self.assertLess(len(sound), 20 * speech.RATE)

    def test_the_mean_of_weights_leaves_counters_alone(self):
        weights = {"w": torch.tensor([0.0, 4.0]), "n": torch.tensor(3)}
        others = {"w": torch.tensor([4.0, 4.0], dtype=torch.bfloat16), "n": torch.tensor(7)}
        made = export.mean(weights, others, 0.25)
        self.assertEqual(made["w"].tolist(), [1.0, 4.0])
        self.assertEqual(made["n"].item(), 3)

    def test_the_places_of_a_sound_reach_its_attention(self):
        model = sample_model.new_model(sample_model.build_config(TOKENIZER, audio=True), 1)
        text, rng, shelf = batches.Text(TOKENIZER), np.random.default_rng(3), speech_training.SoundShelf()
        shelf.add(rng, 2)
        sounds = shelf.pick(rng, 2)
        heard = speech_training.hear(model.model.audio_tower, shelf.batch(sounds))
        talk, soft = [s.conversations(rng) for s in sounds], speech_training.embed_audio(model, heard)
        _, nothing, *_ = speech_training.speech_loss(model, text, soft, sounds, talk, [None, None])
        self.assertEqual(float(nothing), 0.0)
        spread = [list(range(len(s.letters))) for s in sounds]
        _, away, *_ = speech_training.speech_loss(model, text, soft, sounds, talk, spread)
        self.assertGreater(float(away.detach()), 0.1)


class MeansOfSteps(unittest.TestCase):
    def test_means_begin_at_the_first_value_and_keep_what_a_step_does_not_have(self):
        means = Means(0.75)
        means.add("page", torch.tensor(4.0), 1.0)
        means.add("page", torch.tensor(8.0), float("nan"))
        means.add("frame", torch.tensor(0.5), float("nan"))
        means.add("frame", torch.tensor(0.5), 1.0)
        self.assertEqual(means.rounded(2), {"page": [5.0, 1.0], "frame": [0.5, 1.0]})


class Steps(unittest.TestCase):
    def test_rates_rise_stay_and_fall_and_the_last_step_says_so(self):
        made = list(steps_of(Namespace(steps=1000, minutes=None), 400))
        self.assertEqual([s for s, _, _ in made], list(range(400, 1000)))
        self.assertEqual([s for s, _, last in made if last], [999])
        rates = {s: rate for s, rate, _ in made}
        self.assertEqual([rates[400], rates[600]], [1.0, 1.0])
        self.assertAlmostEqual(rates[800], 0.5)
        self.assertAlmostEqual(next(steps_of(Namespace(steps=1000, minutes=None), 0))[1], 1 / 60)

    def test_time_that_is_over_ends_a_run_with_one_last_step_at_the_lowest_rate(self):
        self.assertEqual(list(steps_of(Namespace(steps=1000, minutes=0.0), 400)), [(400, 0.02, True)])


class Attention(unittest.TestCase):
    def test_loss_is_zero_where_attention_lies_on_the_cells_and_grows_with_what_lies_elsewhere(self):
        read_from = torch.tensor([[[1, 2], [-1, -1]]])
        weights = torch.zeros(1, 2, 8)
        weights[0, 0, [4, 5]] = 0.5  # cells 1 and 2 behind 3 tokens
        self.assertAlmostEqual(float(page_training.looked([weights], read_from, 3)), 0.0, places=4)
        weights[0, 0] = torch.tensor([0.5, 0, 0, 0, 0.25, 0, 0.25, 0])
        self.assertAlmostEqual(float(page_training.looked([weights], read_from, 3)), float(-np.log(0.25)), places=4)

    def test_a_model_directory_is_a_checkpoint_and_its_attention_is_a_distribution(self):
        model = sample_model.new_model(sample_model.build_config(TOKENIZER), 1)
        before = {k: v.clone() for k, v in model.model.named_parameters()}
        self.assertEqual(restore(ROOT / "samples" / "model", None, averaged=True, model=model.model), 0)
        self.assertEqual([k for k, v in model.model.named_parameters() if v.numel() > 1 and torch.equal(v, before[k])], [])
        text, rng = batches.Text(TOKENIZER), np.random.default_rng(3)
        shelf = material.FrameShelf(model.model.vision_tower, batches.GRIDS[2])
        shelf.add(rng, 2)
        soft = forward.embed_vision(model, torch.stack([p for _, p in shelf.kept]))
        talk = [batches.conversations(rng, scene) for scene, _ in shelf.kept]
        looks = []
        answers(model, soft, len(text.front), *text.pack(soft.shape[1], talk), looks=looks)
        self.assertEqual(len(looks), model.config.text_config.layer_types.count("full_attention"))
        for weights in looks:
            self.assertEqual(weights.shape[1:], (batches.BRANCH_TOKENS, len(text.front) + soft.shape[1] + len(text.back) + batches.BRANCH_TOKENS))
            self.assertTrue(torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-4))


if __name__ == "__main__":
    unittest.main()
