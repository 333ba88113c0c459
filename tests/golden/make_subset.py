#!/usr/bin/env python3
"""Copies the part of a reference kit that tests of one tower need: its golden files, and from the
model the config and the tensors of the tower and its embedder.

    make_subset.py KIT vision|audio TARGET [--clips N]

KIT holds model/ and golden/, as make_reference.py writes them. --clips keeps the first N clips of
sound only.
"""

import argparse
import json
import pathlib
import shutil
import struct

PREFIXES = {"vision": ("model.vision_tower.", "model.embed_vision."),
            "audio": ("model.audio_tower.", "model.embed_audio.")}
GOLDEN = {"vision": ("vision.json", "vision.safetensors", "image_*.png", "resized_*.png", "image_sizes.json",
                     "video.safetensors"),
          "audio": ()}


def read_tensors(path, prefixes):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    body = data[8 + length:]
    for name, entry in header.items():
        if name.startswith(prefixes):
            first, last = entry["data_offsets"]
            yield name, entry["dtype"], entry["shape"], body[first:last]


def write_tensors(path, tensors):
    header, body = {}, b""
    for name, dtype, shape, content in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def copy_audio(source, target, clips):
    """The audio files, limited to the first clips."""
    settings = json.loads((source / "audio.json").read_text())
    settings["clips"] = settings["clips"][:clips]
    (target / "audio.json").write_text(json.dumps(settings, indent=1))
    wanted = tuple(f"{i}." for i in range(len(settings["clips"])))
    write_tensors(target / "audio.safetensors", list(read_tensors(source / "audio.safetensors", wanted)))
    for clip in settings["clips"]:
        shutil.copyfile(source / clip["file"], target / clip["file"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kit", type=pathlib.Path)
    parser.add_argument("part", choices=sorted(PREFIXES))
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("--clips", type=int)
    args = parser.parse_args()
    for folder in ("model", "golden"):
        (args.target / folder).mkdir(parents=True, exist_ok=True)
    tensors = [tensor for path in sorted((args.kit / "model").glob("*.safetensors"))
               for tensor in read_tensors(path, PREFIXES[args.part])]
    # Scalars last, by name before that: the same kit gives the same file.
    tensors.sort(key=lambda tensor: (tensor[2] == [], tensor[0]))
    write_tensors(args.target / "model" / "model.safetensors", tensors)
    for name in ("config.json", "preprocessor_config.json", "processor_config.json"):
        shutil.copyfile(args.kit / "model" / name, args.target / "model" / name)
    for pattern in GOLDEN[args.part]:
        for path in (args.kit / "golden").glob(pattern):
            shutil.copyfile(path, args.target / "golden" / path.name)
    if args.part == "audio":
        copy_audio(args.kit / "golden", args.target / "golden", args.clips)


if __name__ == "__main__":
    main()
