"""Plans of mixtures of voices: which clips lie where, how fast, how loud, in which band.

A mixture is drawn from a generator once; its plan makes it again from the same corpus, to the
sample, whatever the drawing has become since. A set has its plan beside it as JSON.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from recurra.core.errors import RecurraError
from recurra.speech.data.augmentation import EQUALISER_HERTZ, at_speed, equaliser_gain
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.filtering import filter_gain
from recurra.speech.data.sources import PlacedClip, lay


@dataclass(frozen=True)
class VoicePlan:
    """One voice of a mixture.

    Attributes:
        voice: its name.
        speed: that its clips are played at, laid as `clips` says.
        gain: factor of its samples, after the band is cut.
        clips: where its clips lie, in samples before the change of speed.
        equaliser_db: decibels at each of `EQUALISER_HERTZ`; None is without.
    """

    voice: str
    speed: float
    gain: float
    clips: tuple[PlacedClip, ...]
    equaliser_db: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not 0.1 <= self.speed <= 10:
            raise ValueError(f"a speed lies between 0.1 and 10: {self.speed}")
        bands = len(EQUALISER_HERTZ)
        if self.equaliser_db is not None and len(self.equaliser_db) != bands:
            raise ValueError(f"an equaliser has {bands} bands: {self.equaliser_db}")


@dataclass(frozen=True)
class MixturePlan:
    """One mixture.

    Attributes:
        samples: its length at 16 kHz.
        band_hertz: above this all voices are cut; None where they are not.
        scale: factor of the sum, and of each voice in it, that keeps headroom.
        voices: its voices, one or more.
    """

    samples: int
    band_hertz: float | None
    scale: float
    voices: tuple[VoicePlan, ...]

    def __post_init__(self) -> None:
        if self.samples < 1 or len(self.voices) < 2:
            raise ValueError(
                f"a mixture has a length and 2 voices: {self.samples}, {len(self.voices)}"
            )


@dataclass(frozen=True)
class SetPlan:
    """A set of mixtures of one number of voices.

    Attributes:
        seed: that they were drawn from.
        sha256: of the samples of all; None for a plan that somebody changed.
        mixtures: in their order.
    """

    seed: int
    sha256: str | None
    mixtures: tuple[MixturePlan, ...]

    def __post_init__(self) -> None:
        numbers = sorted({len(mixture.voices) for mixture in self.mixtures})
        if len(numbers) != 1:
            raise ValueError(f"all mixtures have one number of voices, not {numbers}")


def make_voices(plan: MixturePlan, corpus: Corpus) -> np.ndarray:
    """The voices (S, T) float32 of a mixture, which add up to it.

    Raises:
        RecurraError: the corpus lacks a clip.
    """
    spoken = [
        equalised(speak(voice.clips, corpus, plan.samples, voice.speed), voice.equaliser_db)
        for voice in plan.voices
    ]
    if plan.band_hertz is not None:
        spoken = cut_band(spoken, plan.band_hertz)
    gains = [voice.gain for voice in plan.voices]
    return scaled(spoken, gains) * np.float32(plan.scale)


def speak(clips: Sequence[PlacedClip], corpus: Corpus, samples: int, speed: float) -> np.ndarray:
    """Clips at a speed: (samples,) float32."""
    return at_speed(lambda length: lay(corpus, clips, length), samples, speed)


def equalised(voice: np.ndarray, decibels: Sequence[float] | None) -> np.ndarray:
    """A voice (T,) through an equaliser; None leaves it as it is."""
    return voice if decibels is None else filter_gain(voice, equaliser_gain(decibels))


def cut_band(voices: Sequence[np.ndarray], hertz: float) -> list[np.ndarray]:
    """Take from each voice what is above a frequency."""
    return [filter_gain(voice, _low_pass(hertz)) for voice in voices]


def scaled(voices: Sequence[np.ndarray], gains: Sequence[float]) -> np.ndarray:
    """Voices (S, T), each times its gain."""
    return np.stack([v * np.float32(gain) for v, gain in zip(voices, gains, strict=True)])


def read_plan(path: Path) -> SetPlan:
    """Read the plan of a set.

    Raises:
        RecurraError: it is not there, or no plan.
    """
    import pydantic

    adapter = pydantic.TypeAdapter(
        list[SetPlan], config=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
    )
    try:
        return adapter.validate_json(f"[{path.read_text(encoding='utf-8')}]", strict=True)[0]
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))
        raise RecurraError(
            f"{path}: not a plan of mixtures: {place and place + ': '}{first['msg']}"
        ) from error
    except UnicodeDecodeError as error:
        raise RecurraError(f"{path}: not a plan of mixtures: it is no text") from error


def write_plan(path: Path, plan: SetPlan) -> None:
    """Write the plan of a set as JSON, a mixture a line."""
    head = json.dumps({"seed": plan.seed, "sha256": plan.sha256})
    rows = ",\n".join(json.dumps(asdict(mixture), ensure_ascii=False) for mixture in plan.mixtures)
    path.write_text(f'{head[:-1]}, "mixtures": [\n{rows}\n]}}\n', encoding="utf-8")


def _low_pass(cutoff: float) -> Callable[[np.ndarray], np.ndarray]:
    """The gain over frequency (Hz) of a Butterworth filter of order 8, 3 dB down at `cutoff`."""

    def gain(hertz: np.ndarray) -> np.ndarray:
        return np.asarray((1 + (hertz / cutoff) ** 16) ** -0.5)

    return gain
