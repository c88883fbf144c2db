"""The held-out set: mixtures of voices and noises that training never opened, always the same."""

import csv
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from recurra.core.errors import RecurraError
from recurra.core.training import Draw
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.filtering import SAMPLE_RATE
from recurra.speech.data.manifest import Split
from recurra.speech.data.mixing import keep_headroom, scale_to, scale_to_active
from recurra.speech.data.new_folder import new_folder
from recurra.speech.data.sources import MIN_SOUNDING, NoiseSource, SpeechSource, sounding_share
from recurra.speech.data.synthetic_noise import babble, draw_computed

COMPUTED_KIND = "computed"
BABBLE_KIND = "babble"
# A voice that says nothing in a piece cannot be scored; a noise that is silent is none.
MIN_SPEAKING = 0.3
_TRIES = 50


@dataclass(frozen=True)
class HeldOutConfig:
    """What is in the set: `per_snr` mixtures at each ratio, the kinds of noise in turn."""

    seed: int = 2026
    split: Split = "test"
    per_snr: int = 60
    snr_db: tuple[float, ...] = (-5.0, 0.0, 5.0, 10.0, 15.0)
    kinds: tuple[str, ...] = (
        "music",
        "ambience",
        "machine",
        "impact",
        COMPUTED_KIND,
        BABBLE_KIND,
    )
    seconds: tuple[float, float] = (4.0, 8.0)
    level_db: tuple[float, float] = (-35.0, -22.0)


@dataclass(frozen=True)
class HeldOutItem:
    """One mixture; noisy and clean are (T,) float32 at 16 kHz that 16 bits hold exactly."""

    name: str
    snr_db: float
    kind: str
    voice: str
    noise_source: str
    noisy: np.ndarray
    clean: np.ndarray


@dataclass(frozen=True)
class HeldOutSummary:
    """What was written: quote the seed and the SHA-256 of all samples beside every score."""

    folder: Path
    seed: int
    sha256: str
    items: int
    seconds: float


def held_out_set(corpus: Corpus, config: HeldOutConfig | None = None) -> Iterator[HeldOutItem]:
    """Make the mixtures one after the other; equal corpus and config give equal samples.

    The ratio is that of the active level of the speech to the mean power of the noise. There is no
    room, no filter and no clipping: the clean reference is the dry recording.

    Raises:
        RecurraError: the split lacks a voice or one of the kinds of noise.
    """
    config = config or HeldOutConfig()
    speech, noise = SpeechSource(corpus, config.split), NoiseSource(corpus, config.split)
    missing = set(config.kinds) - set(noise.kinds) - {COMPUTED_KIND, BABBLE_KIND}
    if missing:
        raise RecurraError(
            f"no noise of the kinds {sorted(missing)} in the split {config.split!r}; "
            f"there are {sorted(noise.kinds)}"
        )
    for group, snr in enumerate(config.snr_db):
        for index in range(config.per_snr):
            rng = Draw(group, index).generator(config.seed)
            kind = config.kinds[index % len(config.kinds)]
            yield _make(rng, config, speech, noise, snr, kind, index)


def _make(
    rng: np.random.Generator,
    config: HeldOutConfig,
    speech: SpeechSource,
    noise: NoiseSource,
    snr: float,
    kind: str,
    index: int,
) -> HeldOutItem:
    """One mixture."""
    length = round(rng.uniform(*config.seconds) * SAMPLE_RATE)
    level = rng.uniform(*config.level_db)
    spoken = speech.draw(rng, length)
    for _ in range(_TRIES):
        if sounding_share(spoken.audio) >= MIN_SPEAKING:
            break
        spoken = speech.draw(rng, length)
    for _ in range(_TRIES):
        audio, source = _draw_noise(rng, length, speech, noise, kind, spoken.label)
        if sounding_share(audio) >= MIN_SOUNDING:
            break
    clean = scale_to_active(spoken.audio, level)
    noisy, clean = keep_headroom(clean + scale_to(audio, level - snr), clean)
    name = f"snr{snr:+03.0f}_{index:03d}_{kind}"
    return HeldOutItem(name, snr, kind, spoken.label, source, _rounded(noisy), _rounded(clean))


def _draw_noise(
    rng: np.random.Generator,
    length: int,
    speech: SpeechSource,
    noise: NoiseSource,
    kind: str,
    voice: str,
) -> tuple[np.ndarray, str]:
    """Noise (T,) of a kind, and where it comes from."""
    if kind == BABBLE_KIND:
        return babble(rng, length, speech, without=voice), "other voices of the split"
    if kind == COMPUTED_KIND:
        name, audio = draw_computed(rng, length)
        return audio, name
    drawn = noise.draw(rng, length, kind=kind)
    return drawn.audio, drawn.package


def sha256_of(items: Iterable[HeldOutItem]) -> str:
    """SHA-256 over name, noisy and clean of all items in their order, as 16-bit little-endian."""
    digest = hashlib.sha256()
    for item in items:
        _update(digest, item)
    return digest.hexdigest()


def write_held_out_set(
    folder: Path, corpus: Corpus, config: HeldOutConfig | None = None
) -> HeldOutSummary:
    """Write noisy/NAME.wav, clean/NAME.wav and index.csv.

    Raises:
        RecurraError: as `held_out_set`, or the folder has other files in it.
    """
    config = config or HeldOutConfig()
    folder = Path(folder)
    digest, count, samples = hashlib.sha256(), 0, 0
    with (
        new_folder(folder) as place,
        (place / "index.csv").open("w", newline="", encoding="utf-8") as out,
    ):
        for part in ("noisy", "clean"):
            (place / part).mkdir()
        rows = csv.writer(out)
        rows.writerow(["name", "snr_db", "kind", "voice", "noise_source", "seconds"])
        for item in held_out_set(corpus, config):
            for part, audio in (("noisy", item.noisy), ("clean", item.clean)):
                soundfile.write(place / part / f"{item.name}.wav", audio, SAMPLE_RATE, "PCM_16")
            seconds = len(item.noisy) / SAMPLE_RATE
            rows.writerow(
                [item.name, item.snr_db, item.kind, item.voice, item.noise_source, f"{seconds:.3f}"]
            )
            _update(digest, item)
            count, samples = count + 1, samples + len(item.noisy)
    return HeldOutSummary(folder, config.seed, digest.hexdigest(), count, samples / SAMPLE_RATE)


def _update(digest: "hashlib._Hash", item: HeldOutItem) -> None:
    """Add one item to a digest."""
    digest.update(item.name.encode())
    for audio in (item.noisy, item.clean):
        digest.update(np.rint(audio * 32768).astype("<i2").tobytes())


def _rounded(audio: np.ndarray) -> np.ndarray:
    """Round (T,) to 16 bits, so that a wav file holds exactly what is scored."""
    pcm = np.clip(np.rint(audio * 32768), -32768, 32767)
    return (pcm / 32768).astype(np.float32)
