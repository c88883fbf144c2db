"""Training pairs made as they are needed: clean speech, and the same speech in noise.

Everything about a pair follows from (seed, epoch, index): two runs, and a run that was stopped and
resumed, see the same pairs.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.data import Dataset

from recurra.core.errors import RecurraError
from recurra.core.training import Draw
from recurra.speech.data.augmentation import at_speed, draw_equaliser, equaliser_gain
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.filtering import SAMPLE_RATE, filter_gain
from recurra.speech.data.manifest import Split
from recurra.speech.data.rooms import RoomConfig, draw_room, reverberate
from recurra.speech.data.sources import NoiseSource, SpeechSource
from recurra.speech.data.speech_level import active_power, gain_to, power_db
from recurra.speech.data.synthetic_noise import babble, draw_computed

HEADROOM = 0.99


@dataclass(frozen=True)
class MixingConfig:
    """How pairs are made. Shares are probabilities; ranges are (lowest, highest), uniform.

    Of all noise `computed_share` is computed, `babble_share` is babble of voices of the split, and
    the rest is recorded. The level is the active level of the clean speech. A speed is drawn for
    the voice and for each recorded noise in `speed_share` of the cases, a frequency response for
    the voice and for the noise in `equalised_share` of them.
    """

    seed: int = 0
    seconds: float = 3.0
    items: int = 20_000
    snr_db: tuple[float, float] = (-5.0, 20.0)
    level_db: tuple[float, float] = (-45.0, -15.0)
    noise_only_share: float = 0.05
    clean_share: float = 0.05
    computed_share: float = 0.2
    babble_share: float = 0.1
    second_noise_share: float = 0.3
    reverberant_share: float = 0.3
    band_limited_share: float = 0.15
    clipped_share: float = 0.05
    speed_share: float = 0.5
    voice_speed: tuple[float, float] = (0.85, 1.2)
    noise_speed: tuple[float, float] = (0.6, 1.6)
    equalised_share: float = 0.4
    equaliser_db: float = 8.0
    room: RoomConfig = field(default_factory=RoomConfig)

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.items <= 0:
            raise RecurraError(f"seconds and items must be positive: {self.seconds}, {self.items}")
        if self.noise_only_share + self.clean_share > 1:
            raise RecurraError("noise_only_share + clean_share must not exceed 1")
        if self.computed_share + self.babble_share > 1:
            raise RecurraError("computed_share + babble_share must not exceed 1")


class Mixtures(Dataset):
    """Pairs of one split, drawn by (epoch, index)."""

    def __init__(
        self, corpus: Corpus, config: MixingConfig | None = None, split: Split = "train"
    ) -> None:
        """Index the clips of a split.

        Raises:
            SplitError: the corpus has no speech or no noise for it.
        """
        self.config = config or MixingConfig()
        self.split = split
        self.speech = SpeechSource(corpus, split)
        self.noise = NoiseSource(corpus, split)
        self.length = round(self.config.seconds * SAMPLE_RATE)

    def __len__(self) -> int:
        return self.config.items

    def __getitem__(self, draw: Draw) -> dict[str, torch.Tensor]:
        """One pair: {"noisy": (T,), "clean": (T,)}, float32 at 16 kHz."""
        noisy, clean = self.mix(draw.generator(self.config.seed))
        return {"noisy": torch.from_numpy(noisy), "clean": torch.from_numpy(clean)}

    def mix(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The noisy (T,) and the clean (T,) that a generator leads to."""
        config = self.config
        snr_db = rng.uniform(*config.snr_db)
        level_db = rng.uniform(*config.level_db)
        case = rng.random()
        voice = self.speech.draw_voice(rng)
        spoken = at_speed(
            lambda length: self.speech.draw(rng, length, voice=voice).audio,
            self.length,
            self._draw_speed(rng, config.voice_speed),
        )
        spoken = self._maybe_equalise(rng, spoken)
        clean_only = case < config.clean_share
        noise_only = not clean_only and case < config.clean_share + config.noise_only_share
        if noise_only:
            noisy = scale_to(self._draw_noise(rng, None), level_db - snr_db)
            clean = np.zeros_like(noisy)
        elif clean_only:
            noisy = clean = scale_to_active(spoken, level_db)
        else:
            heard, clean = spoken, spoken
            if rng.random() < config.reverberant_share:
                heard, clean = reverberate(spoken, draw_room(rng, config.room))
            noise = self._draw_noise(rng, voice)
            gain = np.float32(gain_to(active_power(clean), level_db))
            clean = clean * gain
            noisy = heard * gain + scale_to(noise, level_db - snr_db)
        if rng.random() < config.band_limited_share:
            noisy, clean = limit_band(rng, noisy, clean)
        noisy, clean = keep_headroom(noisy, clean)
        if not clean_only and rng.random() < config.clipped_share:
            ceiling = np.float32(rng.uniform(0.2, 0.8) * np.abs(noisy).max())
            noisy = np.clip(noisy, -ceiling, ceiling)
        return np.ascontiguousarray(noisy), np.ascontiguousarray(clean)

    def _draw_noise(self, rng: np.random.Generator, voice: str | None) -> np.ndarray:
        """One noise, or two of which the second is softer, (T,)."""
        noise = self._draw_one_noise(rng, voice)
        if rng.random() < self.config.second_noise_share:
            softer_db = rng.uniform(-15.0, 0.0)
            noise = scale_to(noise, 0.0) + scale_to(self._draw_one_noise(rng, voice), softer_db)
        return self._maybe_equalise(rng, noise)

    def _draw_one_noise(self, rng: np.random.Generator, voice: str | None) -> np.ndarray:
        """Recorded, computed, or babble without the voice that speaks, (T,)."""
        config = self.config
        case = rng.random()
        if case < config.babble_share:
            return babble(rng, self.length, self.speech, without=voice)
        if case < config.babble_share + config.computed_share:
            return draw_computed(rng, self.length)[1]
        return at_speed(
            lambda length: self.noise.draw(rng, length).audio,
            self.length,
            self._draw_speed(rng, config.noise_speed),
        )

    def _draw_speed(self, rng: np.random.Generator, speeds: tuple[float, float]) -> float:
        """A speed, as likely an interval up as down, or 1."""
        if rng.random() >= self.config.speed_share:
            return 1.0
        return float(np.exp(rng.uniform(*np.log(speeds))))

    def _maybe_equalise(self, rng: np.random.Generator, audio: np.ndarray) -> np.ndarray:
        """What another microphone would have recorded of (T,), or the same."""
        if rng.random() >= self.config.equalised_share:
            return audio
        decibels = draw_equaliser(rng, self.config.equaliser_db)
        return filter_gain(audio, equaliser_gain(decibels))


def scale_to(audio: np.ndarray, level_db: float) -> np.ndarray:
    """Bring the mean power of (T,) to a level in dB; silence stays silence."""
    return audio * np.float32(gain_to(float(np.mean(np.square(audio))), level_db))


def scale_to_active(speech: np.ndarray, level_db: float) -> np.ndarray:
    """Bring the active level of (T,) to a level in dB; silence stays silence."""
    return speech * np.float32(gain_to(active_power(speech), level_db))


def snr_db(clean: np.ndarray, noise: np.ndarray) -> float:
    """Signal-to-noise ratio of a mixture: active level of the speech against mean noise power."""
    return power_db(active_power(clean)) - power_db(float(np.mean(np.square(noise))))


def keep_headroom(noisy: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale both down together where the noisy one would exceed full scale."""
    peak = float(max(np.abs(noisy).max(), np.abs(clean).max()))
    if peak <= HEADROOM:
        return noisy, clean
    return noisy * np.float32(HEADROOM / peak), clean * np.float32(HEADROOM / peak)


def limit_band(
    rng: np.random.Generator, noisy: np.ndarray, clean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a cheap microphone, a codec or a telephone line leaves: the same filter on both.

    The upper edge is drawn between 3 and 7.5 kHz; in half of the cases there is a lower edge
    between 80 and 400 Hz too. The filter has no delay.
    """
    top = rng.uniform(3000.0, 7500.0)
    bottom = rng.uniform(80.0, 400.0) if rng.random() < 0.5 else 0.0

    def gain(hertz: np.ndarray) -> np.ndarray:
        response = np.clip((1.1 * top - hertz) / (0.1 * top), 0.0, 1.0)
        return response * np.clip(2.0 * hertz / bottom - 1.0, 0.0, 1.0) if bottom else response

    return filter_gain(noisy, gain), filter_gain(clean, gain)
