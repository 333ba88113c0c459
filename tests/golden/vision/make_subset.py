#!/usr/bin/env python3
"""Copies the vision part of a reference kit: the golden files of images and video frames, and
from the model the config and the tensors of the vision tower and its embedder.

    make_subset.py KIT TARGET      KIT holds model/ and golden/, as make_reference.py writes them
"""

import json
import pathlib
import shutil
import struct
import sys

PREFIXES = ("model.vision_tower.", "model.embed_vision.")
GOLDEN = ("vision.json", "vision.safetensors", "image_*.png", "resized_*.png", "image_sizes.json",
          "video.safetensors")


def read_tensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    body = data[8 + length:]
    for name, entry in header.items():
        if name.startswith(PREFIXES):
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


def main():
    kit, target = map(pathlib.Path, sys.argv[1:])
    for folder in ("model", "golden"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    tensors = [tensor for path in sorted((kit / "model").glob("*.safetensors")) for tensor in read_tensors(path)]
    # Scalars last, by name before that: the same kit gives the same file.
    tensors.sort(key=lambda tensor: (tensor[2] == [], tensor[0]))
    write_tensors(target / "model" / "model.safetensors", tensors)
    for name in ("config.json", "preprocessor_config.json", "processor_config.json"):
        shutil.copyfile(kit / "model" / name, target / "model" / name)
    for pattern in GOLDEN:
        for path in (kit / "golden").glob(pattern):
            shutil.copyfile(path, target / "golden" / path.name)


if __name__ == "__main__":
    main()
