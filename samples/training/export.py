"""Writes samples/model from a checkpoint.

    export.py --work DIR --out samples/model [--random [--audio]] [--heads tower.pt pages.pt speech.pt] [--mean-with DIR --mean-share 0.25]

Sets clip bounds from what the towers show on held-out frames, pages and phrases, a margin outside
everything seen, so that they clip nothing on material of this kind. The model hears if the checkpoint does. --random ignores
the checkpoint and writes random weights, with --audio for a model that hears. --heads keeps beside these scripts what the named checkpoints have of the
heads of the towers and the table of codes, so that training can go on from the model directory. --mean-with takes the weighted mean with the
weights of the model directory that training went on from (which may be --out itself): what was lost comes back, what was learned mostly stays
(Wortsman et al. 2022, "Model soups").
"""
import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

import batches
import material
import model as sample_model
import speech_training
from training_loop import KEPT_HEADS, state_of


def weights_of(path):
    """The running average of the weights where the checkpoint has one."""
    state = torch.load(path, weights_only=True)
    return state.get("average", state["model"])


def mean(weights, others, share):
    return {k: v.lerp(others[k].to(v.dtype), share) if v.is_floating_point() else v for k, v in weights.items()}


def keep_heads(paths):
    """Later paths win."""
    kept = {}
    for path in paths:
        state = torch.load(path, weights_only=True)
        for module in ("heads", "text_heads", "text_codebook", "letters_head"):
            kept |= {f"{module}/{k}": v.to(torch.bfloat16).contiguous() for k, v in state.get(module, {}).items()}
    save_file(kept, KEPT_HEADS)
    KEPT_HEADS.chmod(0o644)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--checkpoint", default="joint.pt")
    p.add_argument("--heads", nargs="*", default=[], help="checkpoints in --work")
    p.add_argument("--random", action="store_true")
    p.add_argument("--audio", action="store_true", help="with --random: with an audio tower")
    p.add_argument("--mean-with", type=Path, help="model directory of the same shape")
    p.add_argument("--mean-share", type=float, default=0.25, help="its share of the mean")
    args = p.parse_args()
    if args.random and args.mean_with:
        p.error("--random has no weights to take a mean with")
    torch.set_num_threads(1)
    tok = Tokenizer.from_file(str(Path(__file__).resolve().parent.parent / "model" / "tokenizer.json"))
    weights = None if args.random else weights_of(args.work / args.checkpoint)
    if args.mean_with:
        weights = mean(weights, state_of(args.mean_with)["model"], args.mean_share)
    hears = args.audio if args.random else any(k.startswith("audio_tower.") for k in weights)
    model = sample_model.new_model(sample_model.build_config(tok, audio=hears), 1).eval()
    if not args.random:
        model.model.load_state_dict(weights)
        model.tie_weights()
    seen, rng = [], np.random.default_rng(5)
    for h, w in batches.GRIDS:
        seen.append(((h, w), material.batch_of_scenes(rng, (h, w), 8, questions=1, held_out=True)[0].images))
    for _ in range(4):
        seen.append((material.Pages.size, material.Pages(rng, 3, held_out=True).images))
    seen = [{"pixel_values": batches.patches_of(images), "image_position_ids": batches.grid_positions(*size).expand(len(images), -1, -1)} for size, images in seen]
    heard = []
    for _ in range(4 if hears else 0):
        shelf = speech_training.SoundShelf(held_out=True)
        shelf.add(rng, 8)
        features = shelf.batch(shelf.kept)
        heard.append({"input_features": features, "input_features_mask": torch.ones(features.shape[:2], dtype=torch.bool)})
    sample_model.set_clip_bounds(model, sample_model.observe_bounds(model, seen, heard))
    sample_model.save_directory(args.out, model, tok)
    if args.heads:
        keep_heads([args.work / name for name in args.heads])


if __name__ == "__main__":
    main()
