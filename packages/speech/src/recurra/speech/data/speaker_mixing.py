"""Mixtures of several voices made as they are needed, with each voice beside them.

Everything about a mixture follows from (seed, epoch, index), as for `mixing`.
"""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from torch.utils.data import Dataset

from recurra.core.errors import RecurraError
from recurra.core.training import Draw
from recurra.speech.data.augmentation import draw_equaliser, samples_at_speed
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.filtering import SAMPLE_RATE
from recurra.speech.data.manifest import Split
from recurra.speech.data.mixing import HEADROOM
from recurra.speech.data.mixture_plan import (
    MixturePlan,
    VoicePlan,
    cut_band,
    equalised,
    scaled,
    speak,
)
from recurra.speech.data.sources import PlacedClip, SpeechSource, sounding_share
from recurra.speech.data.speech_level import active_power, gain_to

_TRIES = 8
DISTINCT_SPEEDS = 1.25


@dataclass(frozen=True)
class SpeakerMixingConfig:
    """How mixtures are made. Ranges are (lowest, highest), uniform.

    Attributes:
        seed: another seed, other mixtures.
        seconds: length of a mixture.
        items: mixtures an epoch.
        n_speakers: voices in each, all different. A voice differs from itself at a speed that is
            `DISTINCT_SPEEDS` times as high or more: its pitch is then another's.
        same_voice_share: of the mixtures of one voice with itself at other speeds. Recordings
            differ in bandwidth, noise and coding too: where no two share them, a network learns to
            tell recordings apart instead of voices.
        band_share: of the mixtures whose voices all lose what is above one frequency, which hides
            the bandwidths of recordings and of speeds.
        band_hertz: that frequency.
        equalised_share: of the voices that go through an equaliser of their own, as if by another
            microphone, so that a voice is not known by its recording.
        equaliser_db: how far that turns a band up or down, at most.
        level_db: active level that the voices of a mixture are spread around.
        spread_db: how far the level of a voice is from that, up or down, at most.
        speed_share: of the voices that are played at another speed, which makes others of them:
            recordings that may be given on hold few that speak in sentences.
        voice_speed: that speed.
        least_speaking: share of its time that each voice is heard.
    """

    seed: int = 0
    seconds: float = 3.0
    items: int = 20_000
    n_speakers: int = 2
    same_voice_share: float = 0.5
    band_share: float = 0.7
    band_hertz: tuple[float, float] = (3000.0, 7500.0)
    equalised_share: float = 0.5
    equaliser_db: float = 8.0
    level_db: tuple[float, float] = (-35.0, -20.0)
    spread_db: float = 2.5
    speed_share: float = 0.8
    voice_speed: tuple[float, float] = (0.65, 1.4)
    least_speaking: float = 0.3

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.items <= 0:
            raise RecurraError(f"seconds and items must be positive: {self.seconds}, {self.items}")
        if self.n_speakers < 2:
            raise RecurraError(f"n_speakers is {self.n_speakers}; a mixture has at least 2")

    def as_recorded(self) -> "SpeakerMixingConfig":
        """The same mixtures of voices as they were recorded, none changed: for tests."""
        shares = ("same_voice_share", "band_share", "equalised_share", "speed_share")
        return replace(self, **dict.fromkeys(shares, 0.0))


@dataclass(frozen=True)
class SpeakerMixture:
    """A mixture (T,) and its voices (S, T), which add up to it, with the plan that makes them."""

    mixture: np.ndarray
    voices: np.ndarray
    plan: MixturePlan

    @property
    def names(self) -> tuple[str, ...]:
        """Of the voices."""
        return tuple(voice.voice for voice in self.plan.voices)


class SpeakerMixtures(Dataset):
    """Mixtures of the voices of one split, drawn by (epoch, index)."""

    def __init__(self, corpus: Corpus, config: SpeakerMixingConfig, split: Split = "train") -> None:
        """Index the clips of a split.

        Raises:
            RecurraError: the corpus has fewer voices for it than speak at once, or the speeds make
                fewer of one voice.
        """
        self.config = config
        self._corpus = corpus
        self.speech = SpeechSource(corpus, split)
        self.length = round(config.seconds * SAMPLE_RATE)
        n_speakers = config.n_speakers
        if len(self.speech.voices) < n_speakers:
            raise RecurraError(
                f"{corpus.folder}: the split {split!r} has {len(self.speech.voices)} voices, "
                f"fewer than n_speakers = {n_speakers}"
            )
        slowest, fastest = config.voice_speed
        if config.same_voice_share and fastest < slowest * DISTINCT_SPEEDS ** (n_speakers - 1):
            raise RecurraError(
                f"voice_speed {config.voice_speed} makes fewer than {n_speakers} voices of one; "
                "widen it, or set same_voice_share to 0"
            )

    def __len__(self) -> int:
        return self.config.items

    def __getitem__(self, draw: Draw) -> dict[str, torch.Tensor]:
        """One item: {"mixture": (T,), "voices": (S, T)}, float32 at 16 kHz."""
        made = self.mix(draw.generator(self.config.seed))
        return {
            "mixture": torch.from_numpy(made.mixture),
            "voices": torch.from_numpy(made.voices),
        }

    def mix(self, rng: np.random.Generator) -> SpeakerMixture:
        """The mixture that a generator leads to."""
        config = self.config
        level_db = rng.uniform(*config.level_db)
        speakers = self._draw_speakers(rng)
        clips, spoken = zip(*(self._speak(rng, *speaker) for speaker in speakers), strict=True)
        equalisers = [self._draw_equaliser(rng) for _ in spoken]
        spoken = [equalised(*pair) for pair in zip(spoken, equalisers, strict=True)]
        band_hertz = None
        if rng.random() < config.band_share:
            band_hertz = float(np.exp(rng.uniform(*np.log(config.band_hertz))))
            spoken = cut_band(spoken, band_hertz)
        gains = [
            gain_to(
                active_power(audio), level_db + rng.uniform(-config.spread_db, config.spread_db)
            )
            for audio in spoken
        ]
        voices = scaled(spoken, gains)
        mixture = voices.sum(axis=0)
        scale = float(min(1.0, HEADROOM / np.abs(mixture).max()))
        planned = tuple(
            VoicePlan(name, speed, gain, tuple(placed), equaliser)
            for (name, speed), gain, placed, equaliser in zip(
                speakers, gains, clips, equalisers, strict=True
            )
        )
        plan = MixturePlan(self.length, band_hertz, scale, planned)
        return SpeakerMixture(mixture * np.float32(scale), voices * np.float32(scale), plan)

    def _draw_speakers(self, rng: np.random.Generator) -> list[tuple[str, float]]:
        """The voices of a mixture and their speeds, no two of them alike."""
        n = self.config.n_speakers
        alone = rng.random() < self.config.same_voice_share
        only = self.speech.draw_voice(rng) if alone else None
        while True:
            speakers = [
                (only or self.speech.draw_voice(rng), self._draw_speed(rng, always=alone))
                for _ in range(n)
            ]
            if all(_differ(*pair) for pair in combinations(speakers, 2)):
                return speakers

    def _draw_speed(self, rng: np.random.Generator, *, always: bool) -> float:
        """The speed that a voice is played at."""
        if not always and rng.random() >= self.config.speed_share:
            return 1.0
        return float(np.exp(rng.uniform(*np.log(self.config.voice_speed))))

    def _draw_equaliser(self, rng: np.random.Generator) -> tuple[float, ...] | None:
        """The equaliser of a voice; sets without any are drawn as they were before there were."""
        share = self.config.equalised_share
        if not share or rng.random() >= share:
            return None
        return draw_equaliser(rng, self.config.equaliser_db)

    def _speak(
        self, rng: np.random.Generator, name: str, speed: float
    ) -> tuple[list[PlacedClip], np.ndarray]:
        """Clips of a voice and their sound (T,), drawn again while it says too little."""
        for _ in range(_TRIES):
            placed = self.speech.place(rng, samples_at_speed(self.length, speed), name)
            audio = speak(placed, self._corpus, self.length, speed)
            if sounding_share(audio) >= self.config.least_speaking:
                break
        return placed, audio


def _differ(one: tuple[str, float], other: tuple[str, float]) -> bool:
    """Whether two (voice, speed) are not taken for one speaker."""
    speeds = sorted((one[1], other[1]))
    return one[0] != other[0] or speeds[1] >= DISTINCT_SPEEDS * speeds[0]
