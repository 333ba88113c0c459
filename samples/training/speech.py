"""Short spoken phrases from espeak-ng: digits, command words, times.

    said = random_phrases(rng)           one to three phrases; words in lower case, without punctuation
    written(" ".join(said))              what a transcription is to be: numbers in digits
    sound = speak(rng, said)             float32 mono at 16 kHz in [-1, 1]
    sound = no_speech(rng)               the same without anybody speaking

A phrase is held out from training by a hash of its words (`is_held_out`); the voices are the same in both sets. Needs numpy and the
Debian package espeak-ng.
"""
import hashlib
import io
import subprocess
import wave

import numpy as np

RATE = 16_000
DIGITS = "zero one two three four five six seven eight nine".split()
VERBS = {
    "turn on": "light lamp heater fan radio", "turn off": "light lamp heater fan radio",
    "open": "door window gate garage curtain", "close": "door window gate garage curtain",
    "play": "music news song film", "stop": "music news song film",
}
ROOMS = "kitchen bedroom bathroom office hall garden".split()
SHORT = "yes|no|stop|go|up|down|left|right|start|pause|next|back|louder|quieter|help|repeat".split("|")
UNITS = "seconds minutes hours".split()
VALUES = {word: n for n, word in enumerate(DIGITS)} | {"ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
COUNTS = list(VALUES)[1:]
VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
VARIANTS = ("", "+m1", "+m3", "+m5", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5")

# The first two are what the `transcribe` stage asks by default, without a language and with `language: English`.
DEFAULT_PROMPT = ("Transcribe the following speech segment {}.\n\n"
                  "Follow these specific instructions for formatting the answer:\n"
                  "* Only output the transcription, with no newlines.\n"
                  "* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, and write 3 instead of three.")
PROMPTS = (DEFAULT_PROMPT.format("in its original language"), DEFAULT_PROMPT.format("in English into English text"),
           "Transcribe the audio.", "Transcribe the speech.", "Write down what is said.", "What is said?")
# What that stage asks to learn the language, and the answers.
LANGUAGE_PROMPT = ("Which language is spoken in this recording? Answer with the English name of the language alone, or with "
                   "the word none if nobody speaks.")
LANGUAGE, NO_LANGUAGE = "English", "none"


def language_question(text):
    """(question, answer) about a sound in which `text` is said."""
    return LANGUAGE_PROMPT, LANGUAGE if text else NO_LANGUAGE


def written(phrase):
    return " ".join(str(VALUES.get(word, word)) for word in phrase.split())


def is_held_out(phrase):
    """One phrase in ten. The few single words are in both sets, and no span of time is held out in all its units: nobody could have learned it."""
    held = lambda words: hashlib.sha256(words.encode()).digest()[0] < 26
    begin, _, last = phrase.rpartition(" ")
    if phrase in SHORT or last == UNITS[-1] and all(held(f"{begin} {unit}") for unit in UNITS):
        return False
    return held(phrase)


def random_phrase(rng, held_out=False):
    pick = lambda options: str(options[int(rng.integers(0, len(options)))])
    while True:
        kind = int(rng.integers(0, 10))
        if kind < 4:
            phrase = " ".join(pick(DIGITS) for _ in range(int(rng.integers(2, 7))))
        elif kind < 7:
            verb = pick(list(VERBS))
            room = f" in the {pick(ROOMS)}" if rng.random() < 0.5 else ""
            phrase = f"{verb} the {pick(VERBS[verb].split())}{room}"
        elif kind < 9:
            phrase = f"{pick(('set a timer for', 'wake me in', 'wait for'))} {pick(COUNTS)} {pick(UNITS)}"
        else:
            phrase = pick(SHORT)
        if is_held_out(phrase) == held_out:
            return phrase


def resampled(x, source, target):
    """Band-limited resampling by the Fourier transform of the whole (short) signal."""
    n = round(len(x) * target / source)
    spectrum = np.fft.rfft(x)
    bins = n // 2 + 1
    spectrum = spectrum[:bins] if bins <= len(spectrum) else np.pad(spectrum, (0, bins - len(spectrum)))
    return (np.fft.irfft(spectrum, n) * (n / len(x))).astype(np.float32)


def random_phrases(rng, held_out=False):
    """Mostly one phrase, sometimes two or three that are spoken one after the other."""
    return [random_phrase(rng, held_out) for _ in range(1 + int(rng.random() < 0.3) + int(rng.random() < 0.1))]


def espeak(phrase, voice, speed, pitch=50):
    """A phrase by espeak-ng, int16 mono, and its rate."""
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(speed), "-p", str(pitch), phrase]
    # A pipe cannot be wound back, so the length in the header is a dummy: read to the end.
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    with wave.open(io.BytesIO(data)) as w:
        assert w.getnchannels() == 1 and w.getsampwidth() == 2
        return np.frombuffer(data[44:len(data) - len(data) % 2], "<i2"), w.getframerate()


def spoken(phrase, voice, speed, pitch):
    """A phrase by espeak-ng, float32 at RATE."""
    samples, rate = espeak(phrase, voice, speed, pitch)
    return resampled(samples.astype(np.float32) / 32768, rate, RATE)


def speak(rng, said, noise=True):
    """The phrases `said` by one voice, with pauses between, and silence around them as scenes of films have it."""
    pick = lambda options: str(options[int(rng.integers(0, len(options)))])
    voice = pick(VOICES) + pick(VARIANTS), int(rng.integers(125, 190)), int(rng.integers(30, 70))
    silence = lambda shortest, longest: np.zeros(int(rng.integers(int(shortest * RATE), int(longest * RATE))), np.float32)
    parts = [silence(0, 0.25 if rng.random() < 0.5 else 0.8)]
    for phrase in said:
        parts += [spoken(phrase, *voice), silence(0.1, 0.8 if rng.random() < 0.7 else 2.5)]
    parts[-1] = silence(0, 0.25 if rng.random() < 0.5 else 2)
    x = np.concatenate(parts)
    x *= rng.uniform(0.25, 0.9) / max(1e-4, float(np.abs(x).max()))
    if noise and rng.random() < 0.6:
        x = x + rng.standard_normal(len(x), dtype=np.float32) * 10 ** rng.uniform(-3.5, -1.7)
    return np.clip(x, -1, 1)


def no_speech(rng):
    """One to four seconds of noise of some colour, of a hum, or of a few notes."""
    n = int(rng.integers(RATE, 4 * RATE))
    t = np.arange(n) / RATE
    kind = int(rng.integers(0, 3))
    if kind == 0:
        spectrum = np.fft.rfft(rng.standard_normal(n)) * (1 + np.arange(n // 2 + 1)) ** -rng.uniform(0, 1)
        x = np.fft.irfft(spectrum, n)
    elif kind == 1:
        base = rng.uniform(50, 400)
        x = sum(rng.uniform(0, 1) / k * np.sin(2 * np.pi * base * k * t) for k in range(1, 6))
    else:
        length = int(rng.integers(RATE // 8, RATE))
        notes = 220 * 2 ** (rng.integers(0, 25, 1 + n // length) / 12)
        x = np.sin(2 * np.pi * np.cumsum(np.repeat(notes, length)[:n]) / RATE) * np.exp(-3 * (np.arange(n) % length) / length)
    x = x * (10 ** rng.uniform(-2, -0.1) / np.abs(x).max())
    return (x + rng.standard_normal(n) * 1e-4).clip(-1, 1).astype(np.float32)
