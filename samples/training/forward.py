"""The forward pass of the model, arranged for training on a CPU.

Works on the parameters of transformers' Gemma4ForConditionalGeneration and computes what
that class computes (`check_against_library` compares them), with three differences that
save time: linear layers and attention multiply in bf16, where the processor can, and keep the residual stream and the softmax in f32; clip bounds
are left out, because they are set after training to clip nothing; and layers that only
read shared keys and values run at answer positions alone.
"""
import math

import torch
import torch.nn.functional as F


def product_type():
    """bf16 where the processor multiplies it at least as fast as f32; AVX2 alone does not."""
    fast = torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "NO AVX", "AVX2")
    return torch.bfloat16 if fast else torch.float32


BF16 = product_type()


def linear(x, weight):
    return F.linear(x.to(BF16), weight.to(BF16))


def attention_weights(q, k, mask=None):
    """Softmax with scale 1 of [B, heads, n, d] and [B, heads, m, d]; `mask` is true where a key is visible."""
    scores = (q.to(BF16) @ k.to(BF16).transpose(-1, -2)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores, -1)


def attention(q, k, v, mask=None):
    """Plain products in bf16, for which PyTorch's fused kernel is slower, forwards and backwards; in f32 it takes half the time."""
    if BF16 == torch.float32:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    return attention_weights(q, k, mask).to(BF16) @ v.to(BF16)


def norm(x, weight=None, eps=1e-6):
    x = x.float()
    x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return x if weight is None else x * weight


def rotate(x, cos, sin):
    """Half rotation over the last axis; cos and sin are for the first half and broadcast over heads."""
    u, v = x.chunk(2, -1)
    return torch.cat((u * cos - v * sin, v * cos + u * sin), -1)


def rotation(positions, inverse):
    angle = positions[..., None].float() * inverse
    return angle.cos(), angle.sin()


# ---- vision ------------------------------------------------------------------

def vision_rotation(config, positions):
    """cos and sin for patch positions [B, n, 2] -> ([B, n, 1, head_dim/4] for x and for y)."""
    d = config.head_dim // 2
    inverse = config.rope_parameters["rope_theta"] ** (-torch.arange(0, d, 2).float() / d)
    return [tuple(t.unsqueeze(2) for t in rotation(positions[..., i], inverse)) for i in (0, 1)]


def rotate_2d(x, rope):
    a, b = x.chunk(2, -1)
    return torch.cat((rotate(a, *rope[0]), rotate(b, *rope[1])), -1)


def gated(x, gate, up):
    return F.gelu(linear(x, gate).float(), approximate="tanh") * linear(x, up).float()


def vision_layer(x, rope, heads, head_dim, w):
    """`w` are the weights in the order of vision_weights."""
    norm1, norm2, norm3, norm4, wq, wk, wv, wo, q_norm, k_norm, gate, up, down = w
    B, n, _ = x.shape
    h = norm(x, norm1).to(BF16)
    split = lambda t: t.float().view(B, n, heads, head_dim)
    q = rotate_2d(norm(split(linear(h, wq)), q_norm), rope)
    k = rotate_2d(norm(split(linear(h, wk)), k_norm), rope)
    v = norm(split(linear(h, wv)))
    o = attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    x = x + norm(linear(o.transpose(1, 2).reshape(B, n, -1), wo), norm2)
    return x + norm(linear(gated(norm(x, norm3).to(BF16), gate, up), down), norm4)


def vision_weights(layer):
    a, m = layer.self_attn, layer.mlp
    return (layer.input_layernorm.weight, layer.post_attention_layernorm.weight, layer.pre_feedforward_layernorm.weight, layer.post_feedforward_layernorm.weight,
            a.q_proj.linear.weight, a.k_proj.linear.weight, a.v_proj.linear.weight, a.o_proj.linear.weight, a.q_norm.weight, a.k_norm.weight,
            m.gate_proj.linear.weight, m.up_proj.linear.weight, m.down_proj.linear.weight)


def vision(tower, patches, positions, grid):
    """patches [B, n, 768] f32 in [0, 1] and positions [B, n, 2], both row-major over `grid` = (rows, columns)
    -> pooled features [B, n/9, hidden], as handed to the embedder, and the patch features [B, n, hidden]."""
    config = tower.config
    table = tower.patch_embedder.position_embedding_table
    x = linear(2 * (patches - 0.5), tower.patch_embedder.input_proj.weight).float()
    x = x + F.embedding(positions[..., 0], table[0]) + F.embedding(positions[..., 1], table[1])
    rope = vision_rotation(config, positions)
    for layer in tower.encoder.layers:
        x = vision_layer(x, rope, config.num_attention_heads, config.head_dim, vision_weights(layer))
    B, (rows, columns) = x.shape[0], grid
    pooled = x.view(B, rows // 3, 3, columns // 3, 3, -1).mean((2, 4)).flatten(1, 2)
    return pooled * math.sqrt(config.hidden_size), x


def embed_vision(model, pooled):
    return linear(norm(pooled), model.model.embed_vision.embedding_projection.weight).float()


# ---- text --------------------------------------------------------------------

def text_rotation(config, kind, positions):
    """cos and sin [B, S, 1, head_dim/2]."""
    p = config.rope_parameters[kind]
    if kind == "sliding_attention":
        d = config.head_dim
        inverse = p["rope_theta"] ** (-torch.arange(0, d, 2).float() / d)
    else:
        d = config.global_head_dim
        inverse = p["rope_theta"] ** (-torch.arange(0, d, 2).float() / d)
        inverse = torch.where(torch.arange(d // 2) < int(p["partial_rotary_factor"] * d // 2), inverse, torch.zeros(()))
    return tuple(t.unsqueeze(2) for t in rotation(positions, inverse))


def text_tail(x, ple, w):
    """What follows attention in a decoder layer; `w` as in text_weights."""
    norm1, norm2, norm3, gate, up, down, ple_gate, ple_projection = w
    x = x + norm(linear(gated(norm(x, norm1).to(BF16), gate, up), down), norm2)
    g = F.gelu(linear(x, ple_gate).float(), approximate="tanh") * ple
    return x + norm(linear(g, ple_projection), norm3)


def text_weights(layer):
    m = layer.mlp
    return (layer.pre_feedforward_layernorm.weight, layer.post_feedforward_layernorm.weight, layer.post_per_layer_input_norm.weight,
            m.gate_proj.weight, m.up_proj.weight, m.down_proj.weight, layer.per_layer_input_gate.weight, layer.per_layer_projection.weight)


def decoder(model, ids, soft, soft_at, positions, masks, keep, wanted=None, looks=None):
    """Logits [B, S - keep, vocabulary] at the positions from `keep` on, or [n, vocabulary] at the n of them that
    `wanted` (bool [B, S - keep]) selects.

    ids        [B, S]; soft [B, t, hidden] replaces the rows soft_at .. soft_at + t - 1 (where ids are 0)
    positions  [B, S]; masks: layer type -> bool [B, 1, S, S], true where a key is visible
    looks      if a list, the attention of the first head of each full layer is appended, [B, S - keep, S]
    """
    lm = model.model.language_model
    config = lm.config
    H, P, NL = config.hidden_size, config.hidden_size_per_layer_input, config.num_hidden_layers
    own = NL - config.num_kv_shared_layers
    x = F.embedding(ids, lm.embed_tokens.weight) * math.sqrt(H)
    x = torch.cat((x[:, :soft_at], soft, x[:, soft_at + soft.shape[1]:]), 1)
    B, S, _ = x.shape
    token = F.embedding(ids, lm.embed_tokens_per_layer.weight) * math.sqrt(P)
    context = linear(x, lm.per_layer_model_projection.weight).float() * H ** -0.5
    context = norm(context.view(B, S, NL, P), lm.per_layer_projection_norm.weight)
    ple = (context + token.view(B, S, NL, P)) * 2 ** -0.5
    ropes = {kind: text_rotation(config, kind, positions) for kind in set(config.layer_types)}
    shared = {}
    nq, nk = config.num_attention_heads, config.num_key_value_heads
    for i, layer in enumerate(lm.layers):
        kind = config.layer_types[i]
        a, hd = layer.self_attn, config.head_dim if kind == "sliding_attention" else config.global_head_dim
        if i == own:
            x, ple = x[:, keep:], ple[:, keep:]
        start = keep if i >= own else 0
        T = S - start
        cos, sin = ropes[kind]
        h = norm(x, layer.input_layernorm.weight).to(BF16)
        q = rotate(norm(linear(h, a.q_proj.weight).float().view(B, T, nq, hd), a.q_norm.weight), cos[:, start:], sin[:, start:]).transpose(1, 2)
        if i < own:
            k = rotate(norm(linear(h, a.k_proj.weight).float().view(B, T, nk, hd), a.k_norm.weight), cos, sin)
            v = norm(linear(h, a.v_proj.weight).float().view(B, T, nk, hd))
            k, v = (t.transpose(1, 2).repeat_interleave(nq // nk, 1) for t in (k, v))
            shared[kind] = (k, v)
        k, v = shared[kind]
        mask = masks[kind][:, :, start:]
        if looks is not None and kind == "full_attention":
            weights = attention_weights(q, k, mask)
            looks.append(weights[:, 0, keep - start:])
            o = weights.to(BF16) @ v.to(BF16)
        else:
            o = attention(q, k, v, mask)
        o = linear(o.transpose(1, 2).reshape(B, T, nq * hd), a.o_proj.weight)
        x = x + norm(o, layer.post_attention_layernorm.weight)
        x = text_tail(x, ple[:, :, i], text_weights(layer))
        x = x * layer.layer_scalar
    x = norm(x if wanted is None else x[wanted], lm.norm.weight)
    z = linear(x, lm.embed_tokens.weight).float()
    cap = config.final_logit_softcapping
    return cap * torch.tanh(z / cap)


def compile_layers():
    """Fuses the element-wise work of the vision layers: half a minute of processor time once, 30 % off each step
    after that. The decoder gains nothing measurable."""
    global vision_layer
    vision_layer = torch.compile(vision_layer, dynamic=True)


# ---- comparison --------------------------------------------------------------

@torch.no_grad()
def check_against_library(model, tolerance=0.08):
    """Largest relative difference (of the norm) to transformers' own forward pass, in f32; raises if it exceeds bf16 rounding."""
    import forward as this

    model.eval()
    rows, columns = 6, 9
    g = torch.Generator().manual_seed(1)
    n, t = rows * columns, rows * columns // 9
    patches = torch.rand(2, n, 768, generator=g)
    positions = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), -1).reshape(1, n, 2).repeat(2, 1, 1)
    config = model.config
    front, back = 5, 40
    ids = torch.randint(32, config.text_config.vocab_size, (2, front + t + back), generator=g)
    ids[:, front:front + t] = config.image_token_id
    want = model(input_ids=ids, pixel_values=patches, image_position_ids=positions, mm_token_type_ids=(ids == config.image_token_id).long(),
                 attention_mask=torch.ones_like(ids), use_cache=False).logits
    S = ids.shape[1]
    at = torch.arange(S)
    causal = (at[:, None] >= at[None]).expand(2, 1, S, S)
    window = causal & (at[:, None] - at[None] < config.text_config.sliding_window)
    clean = torch.where(ids == config.image_token_id, 0, ids)
    worst, usual = 0.0, this.BF16
    for exact in (True, False):
        this.BF16 = torch.float32 if exact else torch.bfloat16
        soft = embed_vision(model, vision(model.model.vision_tower, patches, positions, (rows, columns))[0])
        got = decoder(model, clean, soft, front, at.expand(2, S), {"full_attention": causal, "sliding_attention": window}, front + t)
        difference = float((got - want[:, front + t:]).norm() / want[:, front + t:].norm())
        limit = 1e-4 if exact else tolerance
        if difference > limit:
            raise AssertionError(f"forward pass differs from the library by {difference:.2e} of the norm ({'f32' if exact else 'bf16'})")
        worst = max(worst, difference)
    this.BF16 = usual
    return worst
