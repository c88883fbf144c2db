"""A set of mixtures of several voices to score separators on, always the same."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import soundfile

from recurra.core.errors import RecurraError
from recurra.core.training import Draw
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.filtering import SAMPLE_RATE
from recurra.speech.data.held_out import HeldOutSummary
from recurra.speech.data.manifest import Split
from recurra.speech.data.speaker_mixing import SpeakerMixingConfig, SpeakerMixtures


def write_speaker_set(
    folder: Path, corpus: Corpus, config: SpeakerMixingConfig, split: Split = "test"
) -> HeldOutSummary:
    """Write mixture/NAME.wav, voices/NAME.speaker1.wav and so on, and index.csv.

    The voices of a mixture add up to it exactly, in 16 bits. Equal corpus, config and split give
    equal samples; the summary's SHA-256 is of all of them.

    Raises:
        RecurraError: the split has too few voices, or the folder has other files in it.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise RecurraError(f"{folder}: is not empty; give a new folder")
    mixtures = SpeakerMixtures(corpus, config, split)
    for part in ("mixture", "voices"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    speakers = [f"speaker{i}" for i in range(1, config.n_speakers + 1)]
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["name", *speakers, "seconds"])
        for index in range(config.items):
            made = mixtures.mix(Draw(0, index).generator(config.seed))
            name = f"{index:04d}"
            voices = np.rint(made.voices * 32768).astype(np.int16)
            for speaker, voice in zip(speakers, voices, strict=True):
                path = folder / "voices" / f"{name}.{speaker}.wav"
                soundfile.write(path, voice, SAMPLE_RATE, "PCM_16")
            mixture = voices.sum(axis=0, dtype=np.int16)  # mixing leaves headroom
            soundfile.write(folder / "mixture" / f"{name}.wav", mixture, SAMPLE_RATE, "PCM_16")
            digest.update(name.encode() + voices.astype("<i2").tobytes())
            rows.writerow([name, *made.names, f"{mixtures.length / SAMPLE_RATE:.3f}"])
    seconds = config.items * mixtures.length / SAMPLE_RATE
    return HeldOutSummary(folder, config.seed, digest.hexdigest(), config.items, seconds)
