#!/usr/bin/python3
"""Makes the files of samples/inbox from nothing.

    samples/make_samples.py            writes into samples/inbox

The material is of the kind the sample model knows, from scenes, invoices and phrases that its training
never sees (`is_held_out` in samples/training). Needs Debian's python3-numpy, python3-pil,
python3-reportlab, fonts-dejavu-core, ffmpeg and espeak-ng.
"""
import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "training"))
sys.dont_write_bytecode = True

import frames  # noqa: E402
import invoice_text  # noqa: E402
import speech  # noqa: E402
from frames import Group, Scene  # noqa: E402

INBOX = HERE / "inbox"
VIDEO_SIZE, FPS = (360, 640), 25
LAYOUT = (288, 528)  # shapes are laid out at the size that the model sees

VIDEO_SCENES = (  # seconds, scene
    (3.4, Scene("grey", (Group(2, "red", "circle"), Group(1, "blue", "square")), relation="left of")),
    (3.0, Scene("navy", (Group(1, "yellow", "star"),), place="in the middle")),
    (3.6, Scene("pink", (Group(1, "green", "triangle"), Group(3, "white", "square")), relation="above")),
    (3.2, Scene("black", (Group(2, "orange", "cross"), Group(1, "purple", "circle")), relation="left of")),
    (3.4, Scene("white", (Group(3, "black", "star"),), place="at the top")),
    (3.4, Scene("beige", (Group(1, "purple", "cross"), Group(2, "green", "circle")), relation="above")),
)
FADE_AFTER, FADE_S = 2, 0.8  # between this scene and the next the picture fades through black

SPOKEN_SCENES = (  # seconds, scene, what is said from half a second on, by which voice
    (3.6, Scene("grey", (Group(1, "red", "square"), Group(2, "white", "circle")), relation="left of"), "nine five four", "en-gb"),
    (3.2, Scene("navy", (Group(3, "orange", "triangle"),), place="in the middle"), "turn off the lamp", "en-us"),
    (3.6, Scene("beige", (Group(1, "blue", "star"), Group(1, "green", "cross")), relation="above"), "wait for ten minutes", "en-gb-scotland"),
)
SPOKEN_RATE, SPOKEN_AFTER_S = 22050, 0.5


def held_out(scene):
    """`scene`, with its colours, then the shapes of its first group, changed until its caption is of the held-out set."""
    colours = [c for c in frames.COLOURS if (c, scene.background) not in frames.TOO_CLOSE]
    turned = lambda options, now, by: options[(options.index(now) + by) % len(options)]
    for shift in range(len(colours) ** 2 * len(frames.SHAPES)):
        by = (shift % len(colours), shift // len(colours) % len(colours))
        groups = [Group(g.count, turned(colours, g.colour, by[i]), g.shape) for i, g in enumerate(scene.groups)]
        groups[0] = Group(groups[0].count, groups[0].colour, turned(frames.SHAPES, groups[0].shape, shift // len(colours) ** 2))
        changed = Scene(scene.background, tuple(groups), scene.relation, scene.place)
        if frames.is_held_out(changed) and len({(g.colour, g.shape) for g in groups}) == len(groups):
            return changed
    raise ValueError(f"no held-out relative of: {frames.caption(scene)}")


def video_frames(scenes=VIDEO_SCENES, seed=7, fade_after=FADE_AFTER):
    """uint8 [360, 640, 3], one after the other."""
    for index, (seconds, scene) in enumerate(scenes):
        rng = np.random.default_rng((seed, index))
        frame = frames.lay_out(rng, held_out(scene), LAYOUT)
        n = round(seconds * FPS)
        for i in range(n):
            drift = math.sin(2 * math.pi * i / FPS / 3)
            shift = (12 * drift, 4 * drift) if index % 2 == 0 else (-4 * drift, 8 * drift)
            picture = frames.render(np.random.default_rng(0), frames.scaled(frame, VIDEO_SIZE, shift), noise=False).astype(np.float32)
            if index == fade_after:
                picture *= min(1.0, (n - 1 - i) / (FADE_S * FPS / 2))
            elif index == fade_after + 1:
                picture *= min(1.0, i / (FADE_S * FPS / 2))
            yield (picture + 0.5).astype(np.uint8)


def encode(path, pictures, sound=()):
    """Pictures (and the sound of ffmpeg's further arguments) -> MP4, the same bytes each time."""
    h, w = VIDEO_SIZE
    encoder = subprocess.Popen(
        ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-r", str(FPS), "-i", "-", *sound,
         "-c:v", "libx264", "-threads", "1", "-preset", "slow", "-crf", "20", "-pix_fmt", "yuv420p", "-g", "100",
         "-flags", "+bitexact", "-fflags", "+bitexact", "-map_metadata", "-1", "-movflags", "+faststart", str(path)], stdin=subprocess.PIPE)
    for f in pictures:
        encoder.stdin.write(f.tobytes())
    encoder.stdin.close()
    if encoder.wait() != 0:
        raise SystemExit("ffmpeg failed")


def make_spoken_video(path):
    """Scenes with a short phrase spoken in each."""
    track = np.zeros(round(sum(s[0] for s in SPOKEN_SCENES) * SPOKEN_RATE), dtype="<i2")
    start_s = 0.0
    for seconds, _, text, voice in SPOKEN_SCENES:
        assert speech.is_held_out(text)
        phrase, rate = speech.espeak(text, voice, speed=140)
        assert rate == SPOKEN_RATE
        at = round((start_s + SPOKEN_AFTER_S) * SPOKEN_RATE)
        assert len(phrase) < (seconds - SPOKEN_AFTER_S) * SPOKEN_RATE
        track[at:at + len(phrase)] = phrase
        start_s += seconds
    with tempfile.NamedTemporaryFile(suffix=".s16") as sound:
        sound.write(track.tobytes())
        sound.flush()
        encode(path, video_frames([s[:2] for s in SPOKEN_SCENES], seed=10, fade_after=-9),
               ["-f", "s16le", "-ar", str(SPOKEN_RATE), "-ac", "1", "-i", sound.name, "-c:a", "aac", "-b:a", "48k",
                "-metadata:s:a:0", "language=eng"])


def make_images():
    def picture(seed, scene, size, target):
        rng = np.random.default_rng((8, seed))
        frame = frames.lay_out(rng, held_out(scene), size)
        return Image.fromarray(frames.render(rng, frames.scaled(frame, target), noise=False))

    picture(1, Scene("beige", (Group(1, "red", "star"), Group(3, "blue", "circle")), relation="left of"), (336, 432), (480, 640)).save(INBOX / "still.png", optimize=True)
    # A palette picture.
    picture(2, Scene("navy", (Group(2, "white", "triangle"),), place="on the right"), (336, 432), (420, 560)).convert(
        "P", palette=Image.ADAPTIVE, colors=32).save(INBOX / "palette.png", optimize=True)
    # A photograph held upright: stored on its side, to be turned by its EXIF orientation.
    upright = picture(3, Scene("grey", (Group(1, "yellow", "cross"), Group(1, "green", "square")), relation="above"), (432, 336), (640, 480))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.ROTATE_90).save(INBOX / "upright.jpg", quality=90, exif=exif)
    picture(4, Scene("white", (Group(3, "purple", "square"),), place="at the bottom"), (384, 384), (512, 512)).save(INBOX / "still.webp", lossless=True)


def make_pdf(path):
    """An invoice and a receipt, in large print, with their text layer."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen import canvas

    root = Path("/usr/share/fonts/truetype/dejavu")
    for name in ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Bold"):
        pdfmetrics.registerFont(TTFont(name, str(root / f"{name}.ttf")))
    width, height = 432.0, 561.6  # points: 150 x 195 mm, 480 x 624 pixels at 80 dpi
    pdf = canvas.Canvas(str(path), pagesize=(width, height), invariant=True, pageCompression=1)
    pdf.setTitle("Invoice and receipt")
    for page, (regular, bold) in enumerate((("DejaVuSans", "DejaVuSans-Bold"), ("DejaVuSerif", "DejaVuSerif-Bold"))):
        rng = np.random.default_rng((9, page))
        while True:
            invoice = invoice_text.random_invoice(rng, held_out=True)
            if None not in (invoice.number, invoice.date, invoice.vendor) and len(invoice.items) == 3 - page:
                break
        lines = invoice_text.printed_lines(rng, invoice)
        margin, pitch = 28.0, min(50.0, (height - 56) / (sum(l[2] for l in lines) + 0.6))
        y = margin
        for left, right, factor, heavy, _ in lines:
            face, size = bold if heavy else regular, 0.5 * pitch * factor
            while pdfmetrics.stringWidth(left, face, size) + pdfmetrics.stringWidth(right, face, size) + size > width - 2 * margin:
                size *= 0.97
            pdf.setFont(face, size)
            baseline = height - (y + 0.75 * pitch * factor)
            pdf.drawString(margin, baseline, left)
            pdf.drawRightString(width - margin, baseline, right)
            y += pitch * factor
        pdf.showPage()
    pdf.save()


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    INBOX.mkdir(exist_ok=True)
    encode(INBOX / "shapes.mp4", video_frames())
    make_spoken_video(INBOX / "spoken.mp4")
    make_images()
    make_pdf(INBOX / "invoice.pdf")
    for scene in VIDEO_SCENES + SPOKEN_SCENES:
        print(frames.caption(held_out(scene[1])), *scene[2:3], sep=": ")


if __name__ == "__main__":
    main()
