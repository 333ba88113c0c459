"""Writes samples/model from a checkpoint.

    export.py --work DIR --out samples/model [--random]

Sets clip bounds from what the vision tower shows on held-out frames, a margin outside
everything seen, so that they clip nothing on material of this kind. --random ignores
the checkpoint and writes random weights.
"""
import argparse
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

import batches
import model as sample_model
import train


def weights_of(path):
    """The running average of the weights where the checkpoint has one."""
    state = torch.load(path, weights_only=True)
    return state.get("average", state["model"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--checkpoint", default="joint.pt")
    p.add_argument("--random", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(1)
    tok = Tokenizer.from_file(str(Path(__file__).resolve().parent.parent / "model" / "tokenizer.json"))
    model = sample_model.new_model(sample_model.build_config(tok), 1).eval()
    if not args.random:
        model.model.load_state_dict(weights_of(args.work / args.checkpoint))
        model.tie_weights()
    seen, rng = [], np.random.default_rng(5)
    for h, w in batches.GRIDS:
        images = train.batch_of_scenes(rng, (h, w), 8, questions=1, held_out=True)[0].images
        seen.append({"pixel_values": batches.patches_of(images), "image_position_ids": batches.grid_positions(h, w).expand(8, -1, -1)})
    sample_model.set_clip_bounds(model, sample_model.observe_bounds(model, seen))
    sample_model.save_directory(args.out, model, tok)


if __name__ == "__main__":
    main()
