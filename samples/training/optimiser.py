"""Muon for weight matrices (orthogonalised momentum; Jordan et al. 2024), AdamW for the rest.

Matrices of one shape are orthogonalised together, in bf16 where the processor multiplies it. Embedding tables, the position
table, norms and scalars go to AdamW.
"""
import torch

import forward

# Not matrices in Muon's sense: rows are looked up, or the layer maps raw pixels.
LOOKED_UP = ("embed_tokens", "embed_tokens_per_layer", "position_embedding_table", "input_proj")


def orthogonal(g, steps=5):
    """[k, m, n] -> nearest semi-orthogonal matrices, roughly, by a quintic Newton-Schulz iteration."""
    x = g.to(forward.BF16)
    wide = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if wide else x
    x = x / (x.float().flatten(1).norm(dim=1)[:, None, None] + 1e-7).to(x.dtype)
    for _ in range(steps):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.transpose(1, 2) if wide else x).float()


class Optimiser:
    """`rate` multiplies both learning rates; call step(rate) after backward."""

    def __init__(self, named, matrix_lr=0.02, other_lr=3e-3, momentum=0.95, weight_decay=0.01):
        self.matrix_lr, self.momentum, self.decay = matrix_lr, momentum, weight_decay
        named = [(n, p) for n, p in named if p.requires_grad]
        is_matrix = lambda n, p: p.ndim == 2 and not any(w in n for w in LOOKED_UP)
        self.shapes = {}
        for n, p in named:
            if is_matrix(n, p):
                self.shapes.setdefault(tuple(p.shape), []).append((n, p))
        self.buffers = {n: torch.zeros_like(p) for group in self.shapes.values() for n, p in group}
        self.other = [(n, p) for n, p in named if not is_matrix(n, p)]
        self.adam = torch.optim.AdamW([{"params": [p]} for _, p in self.other], lr=other_lr, betas=(0.9, 0.98), weight_decay=0.0)
        self.other_lr = other_lr
        self.parameters = [p for _, p in named]

    @torch.no_grad()
    def step(self, rate, clip=1.0):
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in self.other if p.grad is not None], clip)
        for g in self.adam.param_groups:
            g["lr"] = self.other_lr * rate
        self.adam.step()
        for (rows, columns), group in self.shapes.items():
            group = [(n, p) for n, p in group if p.grad is not None]
            if not group:
                continue
            updates = []
            for n, p in group:
                b = self.buffers[n]
                b.lerp_(p.grad, 1 - self.momentum)
                updates.append(p.grad.lerp(b, self.momentum))
            scale = max(1.0, rows / columns) ** 0.5
            for (n, p), u in zip(group, orthogonal(torch.stack(updates))):
                p.mul_(1 - self.matrix_lr * rate * self.decay)
                p.add_(u, alpha=-self.matrix_lr * rate * scale)
        for p in self.parameters:
            p.grad = None
        return float(norm)

    def state_dict(self):
        return {"buffers": self.buffers, "adam": self.adam.state_dict()}

    def load_state_dict(self, state):
        for n, b in state["buffers"].items():
            if n in self.buffers:
                self.buffers[n].copy_(b)
        self.adam.load_state_dict(state["adam"])
