"""The sample model: its configuration, its first weights, and the model directory.

    build_config(tokenizer)      Gemma4Config of the sample model
    new_model(config, seed)      Gemma4ForConditionalGeneration with weights that train well
    save_directory(...)          everything a Hugging Face directory of the release has

The shape keeps every feature of the release (sliding and full layers, shared keys and
values, Per-Layer Embeddings, clipped linears, 2-D vision positions, tied head) at a size
that a CPU trains.
"""
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Gemma4AudioConfig, Gemma4Config, Gemma4ForConditionalGeneration, Gemma4TextConfig, Gemma4VisionConfig

IMAGE_BUDGET = 70
PATCH, POOL = 16, 3
STOP_TOKENS = ("<eos>", "<turn|>", "<|tool_response>")

CHAT_TEMPLATE = """\
{%- macro visible(text) -%}
  {%- set out = namespace(s='') -%}
  {%- for part in text.split('<channel|>') -%}
    {%- set out.s = out.s + part.split('<|channel>')[0] -%}
  {%- endfor -%}
  {{- out.s | trim -}}
{%- endmacro -%}
{%- set thinking = enable_thinking | default(false) -%}
{%- set system = messages[0]['role'] in ['system', 'developer'] -%}
{{- bos_token -}}
{%- if system or thinking -%}
  {{- '<|turn>system\\n' -}}
  {%- if thinking %}{{ '<|think|>' }}{% endif -%}
  {%- if system %}{{ messages[0]['content'] | trim }}{% endif -%}
  {{- '<turn|>\\n' -}}
{%- endif -%}
{%- for message in (messages[1:] if system else messages) -%}
  {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
  {{- '<|turn>' + role + '\\n' -}}
  {%- for part in ([{'type': 'text', 'text': message['content']}] if message['content'] is string else message['content']) -%}
    {%- if part['type'] == 'image' or part['type'] == 'video' -%}
      {{- '\\n\\n<|' + part['type'] + '|>\\n\\n' -}}
    {%- elif part['type'] == 'audio' -%}
      {{- '<|audio|>' -}}
    {%- elif role == 'model' -%}
      {{- visible(part['text']) -}}
    {%- else -%}
      {{- part['text'] | trim -}}
    {%- endif -%}
  {%- endfor -%}
  {{- '<turn|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|turn>model\\n' -}}
{%- endif -%}
"""


def build_config(tok, audio=False):
    """`audio`: with an audio tower."""
    token = tok.token_to_id
    text = Gemma4TextConfig(
        vocab_size=tok.get_vocab_size(), vocab_size_per_layer_input=tok.get_vocab_size(),
        hidden_size=128, intermediate_size=384, num_hidden_layers=12,
        layer_types=(["sliding_attention"] * 3 + ["full_attention"]) * 3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, global_head_dim=64,
        hidden_size_per_layer_input=16, num_kv_shared_layers=7, use_double_wide_mlp=False,
        sliding_window=256, max_position_embeddings=8192, final_logit_softcapping=30.0,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            "full_attention": {"rope_type": "proportional", "rope_theta": 1_000_000.0, "partial_rotary_factor": 0.25},
        },
        use_bidirectional_attention=None, pad_token_id=token("<pad>"), eos_token_id=token("<eos>"), bos_token_id=token("<bos>"),
    )
    vision = Gemma4VisionConfig(
        hidden_size=128, intermediate_size=384, num_hidden_layers=6, num_attention_heads=2, num_key_value_heads=2, head_dim=64,
        patch_size=PATCH, pooling_kernel_size=POOL, position_embedding_size=512, use_clipped_linears=True, standardize=False,
        default_output_length=IMAGE_BUDGET,
    )
    # The library takes the number of mel bands from the first number of channels.
    hearing = Gemma4AudioConfig(hidden_size=128, num_hidden_layers=4, num_attention_heads=4, subsampling_conv_channels=(128, 16), output_proj_dims=128)
    config = Gemma4Config(
        text_config=text, vision_config=vision, audio_config=hearing if audio else None,
        boi_token_id=token("<|image>"), eoi_token_id=token("<image|>"), image_token_id=token("<|image|>"),
        boa_token_id=token("<|audio>"), eoa_token_index=token("<audio|>"), audio_token_id=token("<|audio|>"),
        video_token_id=token("<|video|>"), vision_soft_tokens_per_image=IMAGE_BUDGET,
    )
    config.architectures = ["Gemma4ForConditionalGeneration"]
    return config


def new_model(config, seed):
    """Random weights. Attention has scale 1 behind normalised queries and keys, so their norm
    weights start at head_dim^(-1/4) to give scores of unit variance; the norms that close each
    branch start small, so that depth does not drown the embedding."""
    torch.manual_seed(seed)
    model = Gemma4ForConditionalGeneration(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            leaf = name.split(".")[-2] if name.endswith(".weight") else name.split(".")[-1]
            if leaf in ("q_norm", "k_norm"):
                p.fill_(p.numel() ** -0.25)
            elif leaf in ("post_attention_layernorm", "post_feedforward_layernorm"):
                p.fill_(0.35)
            elif leaf == "post_per_layer_input_norm":
                p.fill_(0.2)
            elif "norm" in leaf:
                p.fill_(1.0)
            elif leaf == "position_embedding_table":
                p.normal_(0, 0.1)
            elif leaf in ("embed_tokens", "embed_tokens_per_layer", "lm_head"):
                p.normal_(0, config.text_config.hidden_size ** -0.5 if leaf != "embed_tokens_per_layer" else config.text_config.hidden_size_per_layer_input ** -0.5)
            elif p.ndim == 1:  # biases, scales of dimensions
                p.zero_()
            else:
                p.normal_(0, p[0].numel() ** -0.5)
    model.tie_weights()
    return model


def set_clip_bounds(model, bounds):
    """bounds: module name -> (input_min, input_max, output_min, output_max)."""
    for name, m in model.named_modules():
        if name in bounds:
            for key, value in zip(("input_min", "input_max", "output_min", "output_max"), bounds[name]):
                getattr(m, key).fill_(value)


def observe_bounds(model, pictures, sounds=(), margin=1.5):
    """Runs keyword arguments of get_image_features and of get_audio_features and returns clip bounds that lie a
    factor `margin` outside everything seen, rounded to two digits."""
    from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

    seen, hooks = {}, []
    set_clip_bounds(model, {n: (-math.inf, math.inf, -math.inf, math.inf) for n, m in model.named_modules() if isinstance(m, Gemma4ClippableLinear)})

    def widen(name, x, y):
        b = seen.setdefault(name, [0.0] * 4)
        b[:] = min(b[0], float(x.min())), max(b[1], float(x.max())), min(b[2], float(y.min())), max(b[3], float(y.max()))

    for name, m in model.named_modules():
        if isinstance(m, Gemma4ClippableLinear):
            hooks.append(m.linear.register_forward_hook(lambda _, a, o, n=name: widen(n, a[0], o)))
    with torch.no_grad():
        for p in pictures:
            model.model.get_image_features(**p)
        for s in sounds:
            model.model.get_audio_features(**s)
    for h in hooks:
        h.remove()
    return {n: tuple(float(f"{margin * x:.2g}") for x in v) for n, v in seen.items()}


def save_directory(out, model, tok, dtype=torch.bfloat16):
    """Writes config, weights, tokenizer, processor and generation settings, and the chat template."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().to(dtype).contiguous().clone() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    config = model.config
    config.dtype = str(dtype).split(".")[1]
    config.save_pretrained(out)
    tok.save(str(out / "tokenizer.json"))
    token = tok.token_to_id
    image = {"do_convert_rgb": True, "do_normalize": False, "do_rescale": True, "do_resize": True, "image_mean": [0.0] * 3, "image_std": [1.0] * 3,
             "image_processor_type": "Gemma4ImageProcessor", "max_soft_tokens": IMAGE_BUDGET, "patch_size": PATCH, "pooling_kernel_size": POOL,
             "resample": 3, "rescale_factor": 1 / 255}
    audio = {"dither": 0.0, "feature_extractor_type": "Gemma4AudioFeatureExtractor", "feature_size": 128, "fft_length": 512, "fft_overdrive": False,
             "frame_length": 320, "hop_length": 160, "input_scale_factor": 1.0, "max_frequency": 8000.0, "mel_floor": 0.001, "min_frequency": 0.0,
             "padding_side": "right", "padding_value": 0.0, "per_bin_mean": None, "per_bin_stddev": None, "preemphasis": 0.0,
             "preemphasis_htk_flavor": True, "return_attention_mask": True, "sampling_rate": 16000}
    video = {k: v for k, v in image.items() if k != "image_processor_type"}
    video |= {"do_normalize": True, "do_sample_frames": True, "num_frames": 32, "return_metadata": False, "video_processor_type": "Gemma4VideoProcessor"}
    special = {"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>", "audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"}
    write = lambda name, value: (out / name).write_text(json.dumps(value, indent=2) + "\n")
    write("processor_config.json", {"audio_ms_per_token": 40, "audio_seq_length": 750, "feature_extractor": audio, "image_processor": image,
                                    "image_seq_length": IMAGE_BUDGET, "processor_class": "Gemma4Processor", "video_processor": video})
    write("preprocessor_config.json", image | {"feature_extractor_type": "Gemma4AudioFeatureExtractor", "feature_size": 128, "sampling_rate": 16000})
    write("tokenizer_config.json", {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False, "padding_side": "left",
                                    "model_max_length": config.text_config.max_position_embeddings, "bos_token": "<bos>", "eos_token": "<eos>",
                                    "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>", **special, "extra_special_tokens": special})
    # Greedy by default: the model answers with facts.
    write("generation_config.json", {"bos_token_id": token("<bos>"), "do_sample": False, "eos_token_id": [token(t) for t in STOP_TOKENS], "pad_token_id": token("<pad>"),
                                     "transformers_version": config.to_dict()["transformers_version"] if "transformers_version" in config.to_dict() else None})
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE)
