"""Endless speech of one voice, and endless noise of one kind, put together from clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from recurra.speech.data.corpora import Clip, Corpus
from recurra.speech.data.filtering import SAMPLE_RATE
from recurra.speech.data.manifest import Split
from recurra.speech.data.speech_level import frame_power
from recurra.speech.data.splits import noises, voices

GAP_SECONDS = (0.1, 0.6)
# Letters and syllables follow each other as fast as in running speech.
SYLLABLE_SECONDS = 0.5
SYLLABLE_GAP_SECONDS = (0.03, 0.25)
LEVEL_CHANGE_DB = 2.0

# Music is four fifths of what there is; it would be nearly all that is drawn.
KIND_WEIGHT = {"music": 0.4, "ambience": 0.2, "machine": 0.2}
OTHER_KIND_WEIGHT = 0.1
# These are single events, and follow each other in a row; the other kinds are repeated as loops.
EVENT_KINDS = frozenset(["impact", "percussion", "interface"])
EVENT_GAP_SECONDS = 0.15
EVENT_LEVEL_CHANGE_DB = 6.0
LOOP_OVERLAP = SAMPLE_RATE // 200  # the fade that trimming leaves: the two ramps add up to one

MIN_SOUNDING = 0.2
_TRIES = 8
_T = TypeVar("_T")


@dataclass(frozen=True)
class PlacedClip:
    """A clip, by its names, in a piece of speech.

    Attributes:
        package: of the clip.
        path: of its file in the package.
        position: sample of the piece at which the clip begins; before the piece where negative.
        gain: factor of its samples.
    """

    package: str
    path: str
    position: int
    gain: float


@dataclass(frozen=True)
class Drawn:
    """Audio (T,) float32 with the voice or kind and the package that it comes from."""

    audio: np.ndarray
    label: str
    package: str


class SpeechSource:
    """Speech of the voices of one split; a voice is drawn by the square root of its seconds."""

    def __init__(self, corpus: Corpus, split: Split) -> None:
        self._corpus = corpus
        self.voices = voices(corpus, split)
        self._names = list(self.voices)
        seconds = [sum(c.seconds for c in clips) for clips in self.voices.values()]
        self._weights = np.sqrt(seconds)

    def draw_voice(self, rng: np.random.Generator, *, other_than: str | None = None) -> str:
        """The name of a voice, another one than a given one where there are several."""
        weights = self._weights.copy()
        if other_than in self._names and len(self._names) > 1:
            weights[self._names.index(other_than)] = 0.0
        return _choose(rng, self._names, weights)

    def draw(self, rng: np.random.Generator, length: int, *, voice: str | None = None) -> Drawn:
        """`length` samples of one voice, as `place` has them."""
        voice = voice or self.draw_voice(rng)
        audio = lay(self._corpus, self.place(rng, length, voice), length)
        return Drawn(audio, voice, self.voices[voice][0].package)

    def place(self, rng: np.random.Generator, length: int, voice: str) -> list[PlacedClip]:
        """Clips of a voice in random order for `length` samples, with pauses between them.

        They begin in the middle of a clip or in a pause, as a piece cut out of a recording does.
        """
        clips = self.voices[voice]
        placed = []
        clip = clips[rng.integers(len(clips))]
        position = -int(rng.integers(clip.length)) if rng.random() < 0.5 else _gap(rng, clip)
        while position < length:
            gain = float(10 ** (rng.uniform(-LEVEL_CHANGE_DB, LEVEL_CHANGE_DB) / 20))
            placed.append(PlacedClip(clip.package, clip.path, position, gain))
            position += clip.length + _gap(rng, clip)
            clip = clips[rng.integers(len(clips))]
        return placed


class NoiseSource:
    """Recorded noise of one split, by kind."""

    def __init__(self, corpus: Corpus, split: Split) -> None:
        self._corpus = corpus
        self.kinds = noises(corpus, split)
        self._names = list(self.kinds)
        self._kind_weights = np.array([KIND_WEIGHT.get(k, OTHER_KIND_WEIGHT) for k in self._names])
        self._clip_weights = {
            kind: np.sqrt([clip.seconds for clip in clips]) for kind, clips in self.kinds.items()
        }
        self._companions: dict[tuple[str, str], list[Clip]] = {}
        for kind, clips in self.kinds.items():
            for clip in clips:
                self._companions.setdefault((kind, clip.package), []).append(clip)

    def draw(self, rng: np.random.Generator, length: int, *, kind: str | None = None) -> Drawn:
        """`length` samples of one kind; drawn again while it is silent for most of the time."""
        kind = kind or _choose(rng, self._names, self._kind_weights)
        for _ in range(_TRIES):
            clip = _choose(rng, self.kinds[kind], self._clip_weights[kind])
            if clip.length >= length:
                start = int(rng.integers(clip.length - length + 1))
                audio = self._corpus.read(clip, start, length)
            elif kind in EVENT_KINDS:
                audio = self._events(rng, self._companions[kind, clip.package], length)
            else:
                audio = _loop(self._corpus.read(clip), length, int(rng.integers(clip.length)))
            if sounding_share(audio) >= MIN_SOUNDING:
                break
        return Drawn(audio, kind, clip.package)

    def _events(self, rng: np.random.Generator, clips: list[Clip], length: int) -> np.ndarray:
        """Events of one package one after the other, at different levels."""
        out = np.zeros(length, dtype=np.float32)
        position = 0
        while position < length:
            clip = clips[rng.integers(len(clips))]
            sound = self._corpus.read(clip, 0, length - position)
            gain = 10 ** (rng.uniform(-EVENT_LEVEL_CHANGE_DB, EVENT_LEVEL_CHANGE_DB) / 20)
            out[position : position + len(sound)] = sound * np.float32(gain)
            position += len(sound) + int(rng.exponential(EVENT_GAP_SECONDS) * SAMPLE_RATE)
        return out


def lay(corpus: Corpus, placed: Sequence[PlacedClip], length: int) -> np.ndarray:
    """Put clips into `length` samples of silence, cut where they reach beyond: (length,) float32.

    Raises:
        RecurraError: the corpus lacks a clip.
    """
    out = np.zeros(length, dtype=np.float32)
    for piece in placed:
        clip = corpus.find(piece.package, piece.path)
        skip = max(-piece.position, 0)
        sound = corpus.read(clip, skip, max(length - piece.position - skip, 0))
        begin = piece.position + skip
        out[begin : begin + len(sound)] += sound * np.float32(piece.gain)
    return out


def sounding_share(audio: np.ndarray) -> float:
    """The share of 32 ms frames of (T,) that are at most 30 dB below the loudest one.

    Below -70 dB of full scale everything counts as silence.
    """
    power = frame_power(audio)
    return float(np.mean(power > max(float(power.max()) * 1e-3, 1e-7)))


def _gap(rng: np.random.Generator, clip: Clip) -> int:
    """A pause in samples, shorter after a clip that is a single syllable."""
    low, high = SYLLABLE_GAP_SECONDS if clip.seconds < SYLLABLE_SECONDS else GAP_SECONDS
    return int(rng.uniform(low, high) * SAMPLE_RATE)


def _loop(sound: np.ndarray, length: int, start: int) -> np.ndarray:
    """Repeat (T,) without a seam until it is `length` long, beginning at sample `start`."""
    overlap = min(LOOP_OVERLAP, len(sound) // 4)
    period = len(sound) - overlap
    cycle = sound[:period].copy()
    if overlap:
        cycle[:overlap] += sound[period:]
    return np.take(cycle, np.arange(start, start + length), mode="wrap")


def _choose(rng: np.random.Generator, names: Sequence[_T], weights: np.ndarray) -> _T:
    """One of `names` by weight, from one uniform number."""
    total = np.cumsum(weights)
    position = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
    return names[min(position, len(names) - 1)]
