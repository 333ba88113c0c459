#!/usr/bin/env python3
"""Runs reelfolio over damaged copies of real files and over files with awkward names.

    mutate_media.py PROGRAM [--copies N] [--seed N] [--batch N] [--timeout S] [--keep DIR] [--no-isolation] FILE...

PROGRAM is the built reelfolio; one built with sanitizers finds more. reelfolio_make_media writes good files
of many kinds. Each FILE is copied N times, each copy damaged in one to three ways, and the copies of all
files go through a graph without a model. Checked: the exit code is 0 or 3, every line of the output is JSON,
every input has exactly one closing line, closing lines come in input order, no sanitizer reports anything, in
the program or in its decoders, and no process is left. Decoders that end early are counted by their codes and
are no failure. A batch that fails is run again file by file. Files that fail are copied to DIR. The same seed
damages in the same way. Exits with 1 if a check failed.

Processes of decoders end before leaks are looked for: only those of the program itself show. With
--no-isolation decoders run in the program, and their leaks show too. What ends a decoder early then ends the
run, which is a failure, and no limit on an input's memory or time holds but --timeout.
"""

import argparse
import collections
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

GRAPH = """version: 1
stages:
  scenes: {use: split_scenes, from: inputs, score_side: 128}
  frames: {use: sample_frames, from: scenes, per_scene: 2}
  pages: {use: render_pages, from: inputs, dpi: 50, max_pages: 20}
  pictures: {use: read_images, from: inputs}
  clips: {use: split_audio, from: inputs}
  texts: {use: read_text, from: inputs}
"""
REPORT = re.compile(rb"^.*(?:(?:Address|Leak|Thread|Memory)Sanitizer|runtime error: ).*$", re.MULTILINE)
MARK = "REELFOLIO_MUTATION"
KNOWN_LEAKS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "lsan.supp")
INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1]


def place(random_, data):
    """An offset; every second one within the first 512 bytes, where headers stand."""
    return random_.randrange(max(1, min(len(data), 512) if random_.random() < 0.5 else len(data)))


def truncate(random_, data, _):
    return data[: random_.randrange(len(data) + 1)]


def cut_front(random_, data, _):
    return data[place(random_, data) :]


def flip_bytes(random_, data, _):
    out = bytearray(data)
    for _ in range(random_.choice([1, 2, 8, 64])):
        if out:
            out[place(random_, out)] ^= 1 << random_.randrange(8)
    return bytes(out)


def write_number(random_, data, _):
    at = place(random_, data)
    size = random_.choice([1, 2, 4, 8])
    number = random_.choice(INTERESTING) & ((1 << (8 * size)) - 1)
    return data[:at] + number.to_bytes(size, random_.choice(["little", "big"])) + data[at + size :]


def write_field(random_, data, others):
    """A number behind a name of four letters: boxes of MP4, chunks of RIFF and PNG."""
    names = [match.end() for match in re.finditer(rb"[A-Za-z]{4}", data)]
    if not names:
        return write_number(random_, data, others)
    at = random_.choice(names) + random_.randrange(0, 40, 4)
    size = random_.choice([4, 8])
    number = random_.choice(INTERESTING) & ((1 << (8 * size)) - 1)
    return data[:at] + number.to_bytes(size, random_.choice(["little", "big"])) + data[at + size :]


def delete_span(random_, data, _):
    at = place(random_, data)
    return data[:at] + data[at + random_.choice([1, 4, 64, 4096]) :]


def insert_span(random_, data, _):
    at = place(random_, data)
    return data[:at] + random_.randbytes(random_.choice([1, 4, 64, 4096])) + data[at:]


def repeat_span(random_, data, _):
    at = place(random_, data)
    return data[:at] + data[at : at + random_.choice([4, 64, 4096])] * random_.choice([2, 16]) + data[at:]


def zero_span(random_, data, _):
    at = place(random_, data)
    size = min(random_.choice([4, 64, 4096, len(data)]), len(data) - at)
    return data[:at] + bytes(size) + data[at + size :]


def other_header(random_, data, others):
    size = random_.choice([4, 16, 64, 512])
    return random_.choice(others)[:size] + data[size:]


def join(random_, data, others):
    return data + random_.choice(others)


MUTATIONS = [truncate, cut_front, flip_bytes, flip_bytes, write_number, write_number, delete_span, insert_span]
MUTATIONS += [repeat_span, zero_span, other_header, join, write_field, write_field]


def damaged(random_, data, others):
    for mutation in random_.choices(MUTATIONS, k=random_.choice([1, 1, 2, 3])):
        data = mutation(random_, data, others)
    return data


def shown(path):
    """A path as records show it."""
    return os.fsencode(path).decode("utf-8", "replace")


def left_over(mark):
    """Processes that were started with this mark and are still there."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if f"{MARK}={mark}".encode() in file.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            pass  # it has ended, or is somebody else's
    return found


class Runner:
    def __init__(self, options, folder):
        self.options = options
        self.graph = os.path.join(folder, "graph.yaml")
        with open(self.graph, "w", encoding="ascii") as file:
            file.write(GRAPH)
        self.codes = collections.Counter()
        self.statuses = collections.Counter()
        self.error_codes = collections.Counter()
        self.failures = []
        self.runs = 0

    def problem(self, paths, arguments=None, count=True):
        """What is wrong with a run over `paths`, or None. `arguments`: what is named instead of them."""
        command = [self.options.program, "run", self.graph, "-o", "-", "-q"]
        if self.options.no_isolation:
            command.append("--no-isolation")
        if arguments is None:
            command, stdin = command + ["-"], b"".join(os.fsencode(path) + b"\0" for path in paths)
        else:
            command, stdin = command + arguments, b""
        self.runs += 1
        mark = f"{os.getpid()}-{self.runs}"
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                timeout=self.options.timeout * (len(paths) + 1),
                env={"LSAN_OPTIONS": f"suppressions={KNOWN_LEAKS}", **os.environ, MARK: mark},
            )
        except subprocess.TimeoutExpired:
            return f"took longer than {self.options.timeout} s for each input"
        if done.returncode not in (0, 3):
            reason = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
            return f"{reason}\n{done.stderr.decode('utf-8', 'replace')[-6000:]}"
        report = REPORT.search(done.stderr)
        if report:
            return f"a sanitizer reports {report.group().decode('utf-8', 'replace')}\n{done.stderr.decode('utf-8', 'replace')[-6000:]}"
        end = time.monotonic() + 2
        while left_over(mark) and time.monotonic() < end:
            time.sleep(0.05)
        if left_over(mark):
            return f"processes are left: {left_over(mark)}"
        closing = []
        for line in done.stdout.splitlines():
            try:
                record = json.loads(line)
            except ValueError as error:
                return f"a line is not JSON: {error}: {line[:300]!r}"
            if record["type"] == "input":
                closing.append(record)
        if [record["input"] for record in closing] != [shown(path) for path in paths]:
            wanted = collections.Counter(map(shown, paths))
            found = collections.Counter(record["input"] for record in closing)
            return f"closing lines missing: {wanted - found}, beside what was asked for: {found - wanted}, or out of order"
        failed = [record for record in closing if record["status"] in ("partial", "failed")]
        if any(not record["errors"] for record in failed):
            return "an input failed without an error"
        if done.returncode != (3 if failed else 0):
            return f"exit code {done.returncode}, but {len(failed)} inputs failed"
        if count:
            self.codes[done.returncode] += 1
            self.statuses.update(record["status"] for record in closing)
            self.error_codes.update(error["code"] for record in closing for error in record["errors"])
        return None

    def check(self, paths, arguments=None, what=None):
        problem = self.problem(paths, arguments)
        if problem is None:
            return
        alone = [] if arguments else [(path, self.problem([path], count=False)) for path in paths]
        culprits = [(shown(path), each) for path, each in alone if each is not None]
        for name, each in culprits or [(what or f"{len(paths)} files together", problem)]:
            print(f"FAILED {name}: {each}", flush=True)
            self.failures.append(name)
            if self.options.keep and os.path.isfile(name):
                os.makedirs(self.options.keep, exist_ok=True)
                shutil.copy(name, self.options.keep)


def check_damaged(runner, options, folder):
    random_ = random.Random(options.seed)
    originals = []
    for path in options.files:
        with open(path, "rb") as file:
            originals.append((os.path.basename(path), file.read()))
    contents = [data for _, data in originals]
    batch = []
    for i in range(options.copies):
        for number, (name, data) in enumerate(originals):
            stem, suffix = os.path.splitext(name)
            path = os.path.join(folder, f"{number}-{stem}.{i:04d}{suffix}")
            with open(path, "wb") as file:
                file.write(damaged(random_, data, contents))
            batch.append(path)
            if len(batch) == options.batch:
                runner.check(batch)
                for done in batch:
                    os.remove(done)
                batch = []
    if batch:
        runner.check(batch)


def check_names(runner, options, folder):
    """Good files under names that are hard to print, and paths that are no files to read."""
    root = os.path.join(folder, "names")
    os.mkdir(root)
    good = options.files[0]
    names = [b"\xff\xfe.png", b"\xc3(.png", b"\xed\xa0\x80", b"new\nline.png", b"tab\t\x1b[31mred\x7f", b'quote".png']
    names += ["e\u0301\u202e\U0001f600.png".encode(), b"n" * 255, b"\xe2\x82" * 60, b" ", b"--output", b"back\\slash"]
    files = []
    for name in names:
        files.append(os.path.join(os.fsencode(root), name))
        shutil.copy(good, files[-1])
    deep = os.fsencode(root)
    for _ in range(12):
        deep = os.path.join(deep, b"d" * 250)
        os.mkdir(deep)
    files.append(os.path.join(deep, b"deep.png"))
    shutil.copy(good, files[-1])
    os.symlink(b"loop", os.path.join(os.fsencode(root), b"loop"))
    os.symlink(b"nowhere", os.path.join(os.fsencode(root), b"dangling"))
    os.symlink(b"/dev/zero", os.path.join(os.fsencode(root), b"zero"))
    os.mkfifo(os.path.join(root, "fifo"))
    empty = os.path.join(os.fsencode(root), b"empty")
    open(empty, "wb").close()
    sparse = os.path.join(os.fsencode(root), b"sparse")
    with open(sparse, "wb") as file:
        file.truncate(64 << 20)
    closed_file = os.path.join(os.fsencode(root), b"closed")
    shutil.copy(good, closed_file)
    os.chmod(closed_file, 0)
    closed_folder = os.path.join(os.fsencode(root), b"locked")
    os.mkdir(closed_folder)
    shutil.copy(good, os.path.join(closed_folder, b"inside"))
    os.chmod(closed_folder, 0)
    is_root = os.geteuid() == 0  # to whom nothing is closed

    walked = files + [empty, sparse, closed_file, os.path.join(closed_folder, b"inside") if is_root else closed_folder]
    walked += [os.path.join(os.fsencode(root), link) for link in (b"loop", b"dangling")]
    runner.check(sorted(walked), [root], "a folder of awkward names")
    named = [os.path.join(os.fsencode(root), name) for name in (b"fifo", b"zero", b"loop", b"dangling", b"missing")]
    named += [b"/dev/zero", b"/dev/null", b"/dev/full", b"/proc/self/mem", os.path.join(os.fsencode(root), b"n" * 300)]
    named += [b"/" + b"x/" * 3000 + b"x", closed_file, sparse, empty]
    runner.check(named, None, "paths that are no files to read")
    os.chmod(closed_folder, 0o700)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="PROGRAM")
    parser.add_argument("files", metavar="FILE", nargs="+")
    parser.add_argument("--copies", type=int, default=20, help="damaged copies of each file (20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=20, help="inputs in one run (20)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one input (60)")
    parser.add_argument("--keep", metavar="DIR", help="where files that fail are copied to")
    parser.add_argument("--no-isolation", action="store_true", help="decode in the program, for leaks of decoders")
    options = parser.parse_args()
    options.program = os.path.abspath(options.program)
    with tempfile.TemporaryDirectory(prefix="reelfolio-mutate-") as folder:
        runner = Runner(options, folder)
        check_names(runner, options, folder)
        check_damaged(runner, options, folder)
    print(f"runs by exit code {dict(runner.codes)}; inputs {dict(runner.statuses)}; errors {dict(runner.error_codes)}")
    print(f"{len(runner.failures)} failures")
    return 1 if runner.failures else 0


if __name__ == "__main__":
    sys.exit(main())
