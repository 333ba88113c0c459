"""Random tables that turn what an ideal tower would report into soft tokens, and the embedder that turns a real tower's features into the same."""
import torch

import batches
import forward
import material


def new_codebook(model):
    codebook = torch.nn.Linear(batches.code_size(), model.config.text_config.hidden_size, bias=False)
    torch.nn.init.normal_(codebook.weight, 0, 0.5)
    return codebook


def new_text_codebook(model):
    codebook = torch.nn.Linear(batches.text_code_size(), model.config.text_config.hidden_size, bias=False)
    torch.nn.init.normal_(codebook.weight, 0, 0.7)
    return codebook


def fit_projection(model, frame_target, page_target, rng, count=12):
    """Least squares from the tower's features to the soft tokens that the decoder knows: `frame_target(made)` and, unless
    it is None, `page_target(made)`, both [B, cells, hidden]. Returns the explained share."""
    xs, ys, ws = [], [], []
    with torch.no_grad():
        for i in range(4 * count):
            page = page_target is not None and i % 2 == 1
            made = material.Pages(rng, 3) if page else material.batch_of_scenes(rng, batches.GRIDS[i // 2 % len(batches.GRIDS)], 4, questions=1)[0]
            xs.append(forward.norm(made.see(model.model.vision_tower)[0]).flatten(0, 1))
            ys.append((page_target if page else frame_target)(made).flatten(0, 1))
            ws.append(torch.where(made.cells[..., 0] > 0, 3.0, 1.0).flatten())
        x, y, w = torch.cat(xs), torch.cat(ys), torch.cat(ws)[:, None]
        gram = (x * w).T @ x + 1e-2 * len(x) / x.shape[1] * torch.eye(x.shape[1])
        solution = torch.linalg.solve(gram, (x * w).T @ y)
        model.model.embed_vision.embedding_projection.weight.copy_(solution.T)
        return float(1 - (x @ solution - y).pow(2).sum() / y.pow(2).sum())
