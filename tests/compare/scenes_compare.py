#!/usr/bin/env python3
"""Scene cuts and speed of reelfolio beside PySceneDetect 0.7 on the same files.

    python scenes_compare.py BENCH [--repeats N] [--cores 0]... [--detector NAME]... [--list] FILE...

BENCH is the built reelfolio_scenes_bench. Needs the Python package scenedetect (0.7) with opencv-python-headless.
For each file and detector: number of cuts of either, F1 with a tolerance of one frame, and how
many times faster reelfolio is end to end (medians; by the clock, then in processor time, which other load on the
machine disturbs less), for each set of cores that both are limited to.
PySceneDetect runs with the defaults of its command line: automatic downscale, scenes of at least 0.6 s.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

DETECTORS = ["adaptive", "content", "threshold", "histogram", "hash"]


def theirs(detector, path, repeats):
    """One JSON line for each file; runs in a process of its own so that cores can be limited."""
    import scenedetect

    kinds = {
        "adaptive": scenedetect.AdaptiveDetector,
        "content": scenedetect.ContentDetector,
        "threshold": scenedetect.ThresholdDetector,
        "histogram": scenedetect.HistogramDetector,
        "hash": scenedetect.HashDetector,
    }
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        video = scenedetect.open_video(path)
        manager = scenedetect.SceneManager()
        manager.add_detector(kinds[detector](min_scene_len="0.6s"))
        manager.detect_scenes(video)
        scenes = manager.get_scene_list()
        seconds.append(time.perf_counter() - begin)
        cpu_seconds.append(time.process_time() - cpu_begin)
    start = scenes[0][0].seconds if scenes else 0
    cuts = [s[0].seconds - start for s in scenes[1:]]
    return {"cuts": cuts, "seconds": seconds, "cpu_seconds": cpu_seconds, "frame_s": 1 / float(video.frame_rate)}


def pairs_within(a, b, tolerance):
    """Greedy one-to-one matching of two ascending lists."""
    i = j = matched = 0
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= tolerance:
            matched, i, j = matched + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return matched


def f1(matched, ours, others):
    return 2 * matched / (ours + others) if ours + others else 1.0


def ratio(ours, other):
    mine, their = statistics.median(ours), statistics.median(other)
    return f"{their / mine:.2f} ({mine:.2f} s / {their:.2f} s)"


def run(command, cores):
    command = ["taskset", "-c", cores] + command
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", action="append", help="as taskset takes them; may be repeated; default 0, then 0,1")
    parser.add_argument("--detector", action="append", dest="detectors", choices=DETECTORS, help="default: all")
    parser.add_argument("--list", action="store_true", help="print the cuts that only one of the two found")
    options = parser.parse_args()
    options.cores = options.cores or ["0", "0,1"]
    options.detectors = options.detectors or DETECTORS

    print("| detector | file | cuts | PySceneDetect | F1 |" + "".join(f" times faster, cores {c}: clock, processor |" for c in options.cores))
    print("|---|---|---|---|---|" + "---|" * len(options.cores))
    for detector in options.detectors:
        total = [0, 0, 0]
        for path in options.files:
            ratios = []
            for cores in options.cores:
                repeats = str(options.repeats)
                ours = run([options.bench, "--repeats", repeats, detector, path], cores)
                other = run([sys.executable, __file__, "--theirs", detector, path, repeats], cores)
                ratios.append(", ".join(ratio(ours[key], other[key]) for key in ("seconds", "cpu_seconds")))
            # A frame, and half a millisecond for time bases that round.
            tolerance = other["frame_s"] + 0.0005
            matched = pairs_within(ours["cuts"], other["cuts"], tolerance)
            total = [a + b for a, b in zip(total, [matched, len(ours["cuts"]), len(other["cuts"])])]
            score = f1(matched, len(ours["cuts"]), len(other["cuts"]))
            cells = [detector, os.path.basename(path), str(len(ours["cuts"])), str(len(other["cuts"])), f"{score:.3f}"]
            print("| " + " | ".join(cells + ratios) + " |", flush=True)
            if options.list:
                for name, a, b in [("ours", ours["cuts"], other["cuts"]), ("theirs", other["cuts"], ours["cuts"])]:
                    alone = [f"{t:.3f}" for t in a if not any(abs(t - u) <= tolerance for u in b)]
                    print(f"  only {name}: {' '.join(alone)}")
        print(f"| {detector} | all | {total[1]} | {total[2]} | {f1(*total):.3f} |" + " |" * len(options.cores), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--theirs"]:
        print(json.dumps(theirs(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        main()
