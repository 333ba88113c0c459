#!/usr/bin/env python3
"""Writes a Hugging Face directory of the full size of Gemma 4 E4B (or E2B) with invented weights.

    make_synthetic_model.py --out DIR [--variant e4b|e2b] [--seed N] [--no-audio]

The shapes, names, config and token ids are those of the release (16 GB for E4B), so that
loading, memory and speed can be tried without the download; the text that such a model
writes is noise. The tokenizer has 262,144 pieces, all reachable by merges. Values repeat
with a period of a few million elements, which no matrix product notices. Standard library
only; the time is that of writing 16 GB.
"""
import argparse
import array
import json
import math
import random
import struct
import sys
from pathlib import Path

BLOCK = 1 << 20  # normal deviates drawn once; tensors read them at shifting offsets
SHARD_BYTES = 5 << 30

VARIANTS = {
    # hidden, layers, layers in one sliding+full pattern, kv heads, kv-shared layers, intermediate, double-wide MLP
    "e4b": dict(hidden=2560, layers=42, pattern=6, kv_heads=2, shared=18, intermediate=10240, double_wide=False),
    "e2b": dict(hidden=1536, layers=35, pattern=5, kv_heads=1, shared=20, intermediate=6144, double_wide=True),
}
VOCAB = 262144
PLE = 256
HEADS, HEAD_DIM, GLOBAL_HEAD_DIM = 8, 256, 512

# Ids that the release gives to its control tokens.
CONTROL = {
    0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", 4: "<mask>",
    46: "<|tool>", 47: "<tool|>", 48: "<|tool_call>", 49: "<tool_call|>",
    50: "<|tool_response>", 51: "<tool_response|>", 52: '<|"|>',
    98: "<|think|>", 100: "<|channel>", 101: "<channel|>", 105: "<|turn>", 106: "<turn|>",
    255999: "<|image>", 256000: "<|audio>", 258880: "<|image|>", 258881: "<|audio|>",
    258882: "<image|>", 258883: "<audio|>", 258884: "<|video|>",
}
FIRST_BYTE_TOKEN = 238


def bf16_bytes(values, scale):
    """Values times scale as little-endian bf16, truncated after adding half a unit."""
    out = array.array("H", bytes(2 * len(values)))
    words = array.array("I", array.array("f", (v * scale for v in values)).tobytes())
    for i, word in enumerate(words):
        out[i] = ((word + 0x7FFF + ((word >> 16) & 1)) >> 16) & 0xFFFF
    if sys.byteorder == "big":
        out.byteswap()
    return out.tobytes()


class Deviates:
    """Blocks of normal deviates at a few scales, and endless bytes from them."""

    def __init__(self, seed):
        rng = random.Random(seed)
        self.values = [rng.gauss(0.0, 1.0) for _ in range(BLOCK)]
        self.blocks = {}
        self.offset = 0

    def write(self, file, count, scale):
        """count bf16 numbers of standard deviation `scale`."""
        key = f"{scale:.3g}"
        if key not in self.blocks:
            self.blocks[key] = bf16_bytes(self.values, float(key))
        block = self.blocks[key]
        self.offset = (self.offset + 7919) % BLOCK  # another start for each tensor
        start = 2 * self.offset
        left = 2 * count
        while left > 0:
            piece = block[start:start + left]
            file.write(piece)
            left -= len(piece)
            start = 0


def constant(value):
    return lambda file, count, _: file.write(bf16_bytes([value], 1.0) * count)


def tensor_list(variant, with_audio):
    """(name, shape, standard deviation or a constant's writer) of every tensor."""
    v = VARIANTS[variant]
    hidden, layers = v["hidden"], v["layers"]
    one = constant(1.0)

    def linear(name, out, inner):
        return (name, [out, inner], 1.0 / math.sqrt(inner))

    def clipped(name, out, inner):
        base = name.removesuffix(".linear.weight")
        bounds = [(f"{base}.{b}", [], constant(x)) for b, x in
                  (("input_min", -64.0), ("input_max", 64.0), ("output_min", -64.0), ("output_max", 64.0))]
        return [linear(name, out, inner)] + bounds

    p = "model.language_model."
    tensors = [
        (p + "embed_tokens.weight", [VOCAB, hidden], 0.02),
        (p + "embed_tokens_per_layer.weight", [VOCAB, layers * PLE], 0.02),
        linear(p + "per_layer_model_projection.weight", layers * PLE, hidden),
        (p + "per_layer_projection_norm.weight", [PLE], one),
        (p + "norm.weight", [hidden], one),
    ]
    first_shared = layers - v["shared"]
    for n in range(layers):
        q = f"{p}layers.{n}."
        hd = GLOBAL_HEAD_DIM if (n + 1) % v["pattern"] == 0 else HEAD_DIM
        wide = v["intermediate"] * (2 if v["double_wide"] and n >= first_shared else 1)
        for norm in ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                     "post_feedforward_layernorm", "post_per_layer_input_norm"):
            tensors.append((f"{q}{norm}.weight", [hidden], one))
        tensors += [linear(q + "self_attn.q_proj.weight", HEADS * hd, hidden),
                    linear(q + "self_attn.o_proj.weight", hidden, HEADS * hd),
                    (q + "self_attn.q_norm.weight", [hd], constant(0.25))]
        if n < first_shared:
            tensors += [linear(q + "self_attn.k_proj.weight", v["kv_heads"] * hd, hidden),
                        linear(q + "self_attn.v_proj.weight", v["kv_heads"] * hd, hidden),
                        (q + "self_attn.k_norm.weight", [hd], constant(0.25))]
        tensors += [linear(q + "mlp.gate_proj.weight", wide, hidden),
                    linear(q + "mlp.up_proj.weight", wide, hidden),
                    linear(q + "mlp.down_proj.weight", hidden, wide),
                    linear(q + "per_layer_input_gate.weight", PLE, hidden),
                    linear(q + "per_layer_projection.weight", hidden, PLE),
                    (q + "layer_scalar", [1], constant(0.7))]

    p = "model.vision_tower."
    tensors += [(p + "patch_embedder.input_proj.weight", [768, 768], 1.0 / math.sqrt(768)),
                (p + "patch_embedder.position_embedding_table", [2, 10240, 768], 0.02)]
    for n in range(16):
        q = f"{p}encoder.layers.{n}."
        for norm in ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                     "post_feedforward_layernorm"):
            tensors.append((f"{q}{norm}.weight", [768], one))
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            tensors += clipped(f"{q}self_attn.{name}.linear.weight", 768, 768)
        tensors += [(f"{q}self_attn.{n2}.weight", [64], constant(0.35)) for n2 in ("q_norm", "k_norm")]
        tensors += clipped(q + "mlp.gate_proj.linear.weight", 3072, 768)
        tensors += clipped(q + "mlp.up_proj.linear.weight", 3072, 768)
        tensors += clipped(q + "mlp.down_proj.linear.weight", 768, 3072)
    tensors.append(linear("model.embed_vision.embedding_projection.weight", hidden, 768))

    if with_audio:
        p = "model.audio_tower."
        s = p + "subsample_conv_projection."
        tensors += [(s + "layer0.conv.weight", [128, 1, 3, 3], 0.33), (s + "layer0.norm.weight", [128], one),
                    (s + "layer1.conv.weight", [32, 128, 3, 3], 0.03), (s + "layer1.norm.weight", [32], one),
                    linear(s + "input_proj_linear.weight", 1024, 1024),
                    linear(p + "output_proj.weight", 1536, 1024), (p + "output_proj.bias", [1536], 0.02)]
        for n in range(12):
            q = f"{p}layers.{n}."
            for ffw in ("feed_forward1", "feed_forward2"):
                tensors += clipped(f"{q}{ffw}.ffw_layer_1.linear.weight", 4096, 1024)
                tensors += clipped(f"{q}{ffw}.ffw_layer_2.linear.weight", 1024, 4096)
                tensors += [(f"{q}{ffw}.{norm}.weight", [1024], one) for norm in ("pre_layer_norm", "post_layer_norm")]
            tensors += [(f"{q}{norm}.weight", [1024], one) for norm in ("norm_pre_attn", "norm_post_attn", "norm_out")]
            for name in ("q_proj", "k_proj", "v_proj", "post"):
                tensors += clipped(f"{q}self_attn.{name}.linear.weight", 1024, 1024)
            tensors += [linear(q + "self_attn.relative_k_proj.weight", 1024, 1024),
                        (q + "self_attn.per_dim_scale", [128], 0.1),
                        (q + "lconv1d.pre_layer_norm.weight", [1024], one), (q + "lconv1d.conv_norm.weight", [1024], one),
                        (q + "lconv1d.depthwise_conv1d.weight", [1024, 1, 5], 0.45)]
            tensors += clipped(q + "lconv1d.linear_start.linear.weight", 2048, 1024)
            tensors += clipped(q + "lconv1d.linear_end.linear.weight", 1024, 1024)
        tensors.append(linear("model.embed_audio.embedding_projection.weight", hidden, 1536))
    return tensors


def write_tensors(out, tensors, deviates):
    shards, size = [[]], 0
    for t in tensors:
        nbytes = 2 * math.prod(t[1])
        if shards[-1] and size + nbytes > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(t)
        size += nbytes
    weight_map, total = {}, 0
    for k, shard in enumerate(shards):
        file_name = f"model-{k + 1:05d}-of-{len(shards):05d}.safetensors"
        header, offset = {}, 0
        for name, shape, _ in shard:
            nbytes = 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + nbytes]}
            weight_map[name] = file_name
            offset += nbytes
        total += offset
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(out / file_name, "wb", buffering=1 << 22) as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, shape, fill in shard:
                if callable(fill):
                    fill(file, math.prod(shape), None)
                else:
                    deviates.write(file, math.prod(shape), fill)
        print(f"{file_name}: {len(shard)} tensors, {offset / 1e9:.2f} GB", file=sys.stderr)
    with open(out / "model.safetensors.index.json", "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file)


def write_tokenizer(out, seed):
    """Control tokens and bytes at the ids of the release; every other piece is the merge of two earlier ones."""
    rng = random.Random(seed)
    vocab, pieces, merges = {}, [], []
    for i, text in CONTROL.items():
        vocab[text] = i
    for b in range(256):
        vocab[f"<0x{b:02X}>"] = FIRST_BYTE_TOKEN + b
    taken = set(vocab.values())
    free = (i for i in range(VOCAB) if i not in taken)
    letters = [chr(c) for c in range(33, 127)] + ["\u2581", "\n"] + [chr(c) for c in range(0xC0, 0x180)]
    for c in letters:
        vocab[c] = next(free)
        pieces.append(c)
    frequent = list("etaoinshrdlu") + ["\u2581"]
    for i in free:
        while True:
            # Short, frequent halves make pieces that ordinary text meets.
            left = rng.choice(frequent) if rng.random() < 0.3 else pieces[int(len(pieces) * rng.random() ** 2)]
            right = rng.choice(frequent) if rng.random() < 0.3 else pieces[int(len(pieces) * rng.random() ** 2)]
            if len(left) + len(right) <= 16 and left + right not in vocab:
                break
        vocab[left + right] = i
        pieces.append(left + right)
        merges.append([left, right])
    # A second way to reach about as many pieces, as in the release (514,906 merges).
    known = {(a, b) for a, b in merges}
    for piece in pieces:
        if len(piece) < 3:
            continue
        for cut in range(1, len(piece)):
            pair = (piece[:cut], piece[cut:])
            if pair not in known and pair[0] in vocab and pair[1] in vocab:
                known.add(pair)
                merges.append(list(pair))
                break
    not_special = {"<mask>"}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": text not in not_special}
                         for i, text in sorted(CONTROL.items())],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
                          "invert": False},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": dict(sorted(vocab.items(), key=lambda kv: kv[1])), "merges": merges},
    }
    with open(out / "tokenizer.json", "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False, indent=1)


def write_configs(out, variant, with_audio):
    v = VARIANTS[variant]
    layer_types = ["full_attention" if (n + 1) % v["pattern"] == 0 else "sliding_attention"
                   for n in range(v["layers"])]
    config = {
        "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "dtype": "bfloat16",
        "boi_token_id": 255999, "eoi_token_id": 258882, "image_token_id": 258880, "boa_token_id": 256000,
        "eoa_token_index": 258883, "audio_token_id": 258881, "video_token_id": 258884,
        "tie_word_embeddings": True, "vision_soft_tokens_per_image": 280,
        "text_config": {
            "model_type": "gemma4_text", "vocab_size": VOCAB, "vocab_size_per_layer_input": VOCAB,
            "hidden_size": v["hidden"], "num_hidden_layers": v["layers"], "layer_types": layer_types,
            "intermediate_size": v["intermediate"], "use_double_wide_mlp": v["double_wide"],
            "num_attention_heads": HEADS, "num_key_value_heads": v["kv_heads"], "head_dim": HEAD_DIM,
            "global_head_dim": GLOBAL_HEAD_DIM, "num_kv_shared_layers": v["shared"],
            "hidden_size_per_layer_input": PLE, "sliding_window": 512, "rms_norm_eps": 1e-6,
            "hidden_activation": "gelu_pytorch_tanh", "final_logit_softcapping": 30.0,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                "full_attention": {"rope_type": "proportional", "rope_theta": 1000000.0,
                                   "partial_rotary_factor": 0.25}},
            "max_position_embeddings": 131072, "tie_word_embeddings": True, "attention_bias": False,
            "attention_k_eq_v": False, "enable_moe_block": False, "use_bidirectional_attention": None,
            "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1},
        "vision_config": {
            "model_type": "gemma4_vision", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 16,
            "num_attention_heads": 12, "num_key_value_heads": 12, "head_dim": 64, "patch_size": 16,
            "pooling_kernel_size": 3, "position_embedding_size": 10240, "default_output_length": 280,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}, "rms_norm_eps": 1e-6,
            "hidden_activation": "gelu_pytorch_tanh", "use_clipped_linears": True, "standardize": False},
        "audio_config": {
            "model_type": "gemma4_audio", "hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 8,
            "subsampling_conv_channels": [128, 32], "conv_kernel_size": 5, "attention_chunk_size": 12,
            "attention_context_left": 13, "attention_context_right": 0, "attention_logit_cap": 50.0,
            "residual_weight": 0.5, "gradient_clipping": 1e10, "output_proj_dims": 1536, "rms_norm_eps": 1e-6,
            "hidden_act": "silu", "use_clipped_linears": True} if with_audio else None,
    }
    generation = {"bos_token_id": 2, "eos_token_id": [1, 106, 50], "pad_token_id": 0, "do_sample": True,
                  "temperature": 1.0, "top_k": 64, "top_p": 0.95}
    processor = {"processor_class": "Gemma4Processor", "image_seq_length": 280, "audio_seq_length": 750,
                 "audio_ms_per_token": 40,
                 "image_processor": {"image_processor_type": "Gemma4ImageProcessor", "patch_size": 16,
                                     "max_soft_tokens": 280, "pooling_kernel_size": 3}}
    for name, value in (("config.json", config), ("generation_config.json", generation),
                        ("processor_config.json", processor)):
        with open(out / name, "w") as file:
            json.dump(value, file, indent=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variant", choices=VARIANTS, default="e4b")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-audio", action="store_true", help="leave the audio tower out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    write_configs(args.out, args.variant, not args.no_audio)
    write_tokenizer(args.out, args.seed)
    write_tensors(args.out, tensor_list(args.variant, not args.no_audio), Deviates(args.seed))


if __name__ == "__main__":
    main()
