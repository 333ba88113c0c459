"""Byte-fallback BPE with a small vocabulary, learned on the text of the generators.

    build_tokenizer.py OUT/tokenizer.json

The pipeline is the one of the release: spaces become U+2581, nothing is split before
BPE, unknown characters fall back to bytes. Digits are never merged: a model that reads
numbers does so digit by digit.
"""
import argparse
import json
import string

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import frames
import invoice_text

CONTROL = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>", "<|image>", "<image|>", "<|image|>",
    "<|audio>", "<audio|>", "<|audio|>", "<|video|>", "<|think|>", "<|channel>", "<channel|>", "<|tool>", "<tool|>",
    "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>',
)
NEWLINES = ("\n", "\n\n", "\n\n\n", "\n\n\n\n")
VOCABULARY = 1024


def corpus(rng, n=6000):
    for _ in range(n):
        scene = frames.random_scene(rng)
        yield frames.caption(scene)
        for q, a in frames.questions(rng, scene, 2):
            yield q
            yield " " + a
        invoice = invoice_text.random_invoice(rng)
        yield invoice_text.to_json(invoice)
        for left, right, _, _ in invoice_text.printed_lines(rng, invoice):
            yield left
            yield right
    for p in frames.CAPTION_PROMPTS + invoice_text.EXTRACT_PROMPTS:
        for _ in range(300):
            yield p
    for word in ("user", "model", "system", "thought"):
        for _ in range(1000):
            yield word
    for _ in range(60):  # prompts and schemas that people write
        yield ('Answer the question. Read the title of the page. Read the line. Read the total. What is the total? What is the date? Who is the vendor? '
               'Transcribe the text. Answer with JSON that follows this schema. Answer in one word. Answer with a JSON object only, no other text. '
               '{"type":"object","properties":{"number":{"type":["string","null"]},"total":{"type":["number","null"]},"items":{"type":"array","items":'
               '{"type":"object"}}},"required":["number"],"additionalProperties":false,"description":"","format":"date","enum":["EUR"],"minimum":0,"integer","boolean"}')


def build():
    rng = np.random.default_rng(20260101)
    digits = str.maketrans(string.digits, " " * 10)
    text = [line.translate(digits).replace(" ", "▁") for line in corpus(rng)]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    base = list(CONTROL) + list(NEWLINES) + [f"<0x{b:02X}>" for b in range(256)]
    characters = sorted(set(string.printable[:95].replace(" ", "▁")) | set("€£▁"))
    merged = VOCABULARY - len(base) - len(characters)
    learner.train_from_iterator(text, trainers.BpeTrainer(vocab_size=merged + len(characters) + 20, initial_alphabet=characters, special_tokens=[], show_progress=False))
    learned = json.loads(learner.to_str())["model"]["merges"]
    vocabulary = {w: i for i, w in enumerate(base + characters)}
    merges = []
    for a, b in map(tuple, learned):
        if len(vocabulary) == VOCABULARY:
            break
        if a in vocabulary and b in vocabulary:
            merges.append((a, b))
            vocabulary.setdefault(a + b, len(vocabulary))
    while len(vocabulary) < VOCABULARY:
        vocabulary[f"<unused{len(vocabulary)}>"] = len(vocabulary)
    for a, b in (("\n\n", "\n\n"), ("\n\n", "\n"), ("\n", "\n")):
        merges.insert(0, (a, b))

    tok = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, dropout=None, unk_token="<unk>", fuse_unk=True, byte_fallback=True, ignore_merges=False))
    tok.normalizer = normalizers.Replace(" ", "▁")
    tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tok.post_processor = processors.TemplateProcessing(single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", vocabulary["<bos>"])])
    tok.add_special_tokens([AddedToken(w, normalized=False, special=True) for w in CONTROL if w != "<mask>"])
    tok.add_tokens([AddedToken(w, normalized=False) for w in ("<mask>",) + NEWLINES])
    assert tok.get_vocab_size() == VOCABULARY, tok.get_vocab_size()
    return tok


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    build().save(p.parse_args().out)


if __name__ == "__main__":
    main()
