#!/usr/bin/env python3
"""Checks what training on documents builds on: that the generator knows where each answer stands on its page, and that the
attention which is supervised is that of the places it names. Needs a Python with torch, transformers and Pillow, and the fonts of
samples/training/README.md; exits with 77 (skipped) where those are missing.
"""
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
    import forward
    import invoice_text
    import material
    import model as sample_model
    import page_training
    from training_loop import answers, restore, steps_of
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
if not all((documents.FONT_ROOT / f).exists() for family in documents.FAMILIES for f in family):
    print("skipped: fonts are missing")
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
        self.assertEqual(len(looks), 2)
        for weights in looks:
            self.assertEqual(weights.shape[1:], (batches.BRANCH_TOKENS, len(text.front) + soft.shape[1] + len(text.back) + batches.BRANCH_TOKENS))
            self.assertTrue(torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-4))


if __name__ == "__main__":
    unittest.main()
