"""Who speaks and what sounds in each split, and how much of it there is."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from recurra.core.errors import RecurraError
from recurra.speech.data.corpora import Clip, Corpus
from recurra.speech.data.manifest import Role, Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class SplitError(RecurraError):
    """A split that has nothing in it, or that shares a voice or a noise package with another."""


@dataclass(frozen=True)
class SplitTotals:
    """What one split holds; seconds are those of trimmed clips."""

    split: Split
    speech_seconds: dict[str, float]
    noise_seconds: dict[str, float]


def by_label(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    """Clips by voice or by kind of noise, names in alphabetical order."""
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[clip.label].append(clip)
    return {label: groups[label] for label in sorted(groups)}


def voices(corpus: Corpus, split: Split) -> dict[str, list[Clip]]:
    """The clips of each voice of a split.

    Raises:
        SplitError: there is no speech in it.
    """
    found = by_label(corpus.select(split, "speech"))
    if not found:
        raise _missing(corpus, split, "speech")
    return found


def noises(corpus: Corpus, split: Split) -> dict[str, list[Clip]]:
    """The clips of each kind of recorded noise of a split.

    Raises:
        SplitError: there is no noise in it.
    """
    found = by_label(corpus.select(split, "noise"))
    if not found:
        raise _missing(corpus, split, "noise")
    return found


def _missing(corpus: Corpus, split: str, role: Role) -> SplitError:
    """An error that names the splits that there are."""
    there = [name for name in SPLITS if corpus.select(name, role)] or ["none"]
    return SplitError(
        f"{corpus.folder}: no {role} for the split {split!r}; there are {', '.join(there)}"
    )


def check_apart(corpus: Corpus) -> None:
    """Make sure that no voice and no noise package is in two splits.

    Raises:
        SplitError: one is.
    """
    homes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for clip in corpus.clips:
        name = clip.label if clip.role == "speech" else clip.package
        homes[clip.role, name].add(clip.split)
    for (role, name), splits in homes.items():
        if len(splits) > 1:
            raise SplitError(f"{role} of {name} is in the splits {', '.join(sorted(splits))}")


def totals(corpus: Corpus) -> list[SplitTotals]:
    """Seconds of speech by voice and of noise by package, for each split."""
    rows = []
    for split in SPLITS:
        speech: dict[str, float] = defaultdict(float)
        noise: dict[str, float] = defaultdict(float)
        for clip in corpus.clips:
            if clip.split == split and clip.role == "speech":
                speech[clip.label] += clip.seconds
            elif clip.split == split:
                noise[clip.package] += clip.seconds
        rows.append(SplitTotals(split, dict(speech), dict(noise)))
    return rows
