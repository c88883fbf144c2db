"""A set of mixtures of several voices to score separators on, always the same."""

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from recurra.core.errors import RecurraError
from recurra.core.training import Draw
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.filtering import SAMPLE_RATE
from recurra.speech.data.held_out import HeldOutSummary
from recurra.speech.data.manifest import Split
from recurra.speech.data.mixture_plan import (
    MixturePlan,
    SetPlan,
    make_voices,
    read_plan,
    write_plan,
)
from recurra.speech.data.new_folder import new_folder
from recurra.speech.data.speaker_mixing import SpeakerMixingConfig, SpeakerMixtures

PLAN = "plan.json"


def write_speaker_set(
    folder: Path, corpus: Corpus, config: SpeakerMixingConfig, split: Split = "test"
) -> HeldOutSummary:
    """Write mixture/NAME.wav, voices/NAME.speaker1.wav and so on, index.csv and plan.json.

    The voices of a mixture add up to it exactly, in 16 bits. Equal corpus, config and split give
    equal samples; the summary's SHA-256 is of all of them.

    Raises:
        RecurraError: the split has too few voices, or the folder has other files in it.
    """
    folder = Path(folder)
    mixtures = SpeakerMixtures(corpus, config, split)
    made = (mixtures.mix(Draw(0, index).generator(config.seed)) for index in range(config.items))
    with new_folder(folder) as place:
        plan = _write(place, config.seed, ((mixture.plan, mixture.voices) for mixture in made))
    return _summary(folder, plan)


def write_planned_set(folder: Path, corpus: Corpus, plan_file: Path) -> HeldOutSummary:
    """Write a set again from its plan, from the same corpus.

    Raises:
        RecurraError: it is no plan, the corpus lacks a clip or has other samples in one, or the
            folder has other files in it.
    """
    folder, wanted = Path(folder), read_plan(Path(plan_file))
    with new_folder(folder) as place:
        made = ((mixture, make_voices(mixture, corpus)) for mixture in wanted.mixtures)
        plan = _write(place, wanted.seed, made)
        if wanted.sha256 not in (None, plan.sha256):
            raise RecurraError(
                f"{plan_file}: its clips in {corpus.folder} give other samples, SHA-256 "
                f"{plan.sha256} and not {wanted.sha256}; give the corpus that it was made with, "
                'or set "sha256" of a plan that you changed to null'
            )
    return _summary(folder, plan)


def _write(folder: Path, seed: int, mixtures: Iterable[tuple[MixturePlan, np.ndarray]]) -> SetPlan:
    """Write plans and their voices (S, T) into a folder that is there; return the plan of all."""
    for part in ("mixture", "voices"):
        (folder / part).mkdir()
    digest, rows, plans = hashlib.sha256(), [], []
    for index, (plan, exact) in enumerate(mixtures):
        name = f"{index:04d}"
        voices = np.rint(exact * 32768).clip(-32768, 32767).astype(np.int16)
        for speaker, voice in enumerate(voices, 1):
            path = folder / "voices" / f"{name}.speaker{speaker}.wav"
            soundfile.write(path, voice, SAMPLE_RATE, "PCM_16")
        mixture = voices.sum(axis=0, dtype=np.int32)
        if np.abs(mixture).max() > 32767:  # not where the plan is as it was drawn
            raise RecurraError(f"mixture {name} is louder than full scale; lower its scale")
        path = folder / "mixture" / f"{name}.wav"
        soundfile.write(path, mixture.astype(np.int16), SAMPLE_RATE, "PCM_16")
        digest.update(name.encode() + voices.astype("<i2").tobytes())
        names = [voice.voice for voice in plan.voices]
        rows.append([name, *names, f"{plan.samples / SAMPLE_RATE:.3f}"])
        plans.append(plan)
    speakers = [f"speaker{i}" for i in range(1, len(plans[0].voices) + 1)]
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([["name", *speakers, "seconds"], *rows])
    made = SetPlan(seed, digest.hexdigest(), tuple(plans))
    write_plan(folder / PLAN, made)
    return made


def _summary(folder: Path, plan: SetPlan) -> HeldOutSummary:
    seconds = sum(mixture.samples for mixture in plan.mixtures) / SAMPLE_RATE
    return HeldOutSummary(folder, plan.seed, plan.sha256 or "", len(plan.mixtures), seconds)
