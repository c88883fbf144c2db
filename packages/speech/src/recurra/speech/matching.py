"""Which recording of one folder belongs to which of another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recurra.core.errors import RecurraError
from recurra.speech.audio.format import ENHANCED_MARK, is_media_name


@dataclass(frozen=True)
class Unscored:
    """A file that could not be scored at all, and why."""

    path: Path
    reason: str


def match_files(
    references: Path, estimates: Path
) -> tuple[list[tuple[Path, Path, str]], list[Unscored]]:
    """Pair the audio files of two folders by their relative paths.

    `a/x.wav` goes with `a/x.enhanced.wav`, else with `a/x.wav`, else with `a/x.enhanced.flac` or
    `a/x.flac` (any ending). Where an enhanced file and one of the reference's own name lie side by
    side, as `enhance` leaves them, the enhanced one is taken and the note says so.

    Returns:
        (reference, estimate, note) by name; and the files on both sides that have no partner or
        more than one.

    Raises:
        RecurraError: one of the two is no folder, or both are the same one.
    """
    for folder in (references, estimates):
        if not folder.is_dir():
            raise RecurraError(f"{folder}: is not a folder")
    if references.resolve() == estimates.resolve():
        raise RecurraError(f"{references}: is given as references and as estimates")
    by_stem: dict[Path, list[Path]] = {}
    for path in (found := _audio_files(estimates)):
        relative = path.relative_to(estimates)
        by_stem.setdefault(
            relative.with_name(relative.stem.removesuffix(ENHANCED_MARK)), []
        ).append(path)
    matched: list[tuple[Path, Path, str]] = []
    unscored: list[Unscored] = []
    taken: set[Path] = set()
    for reference in _audio_files(references):
        relative = reference.relative_to(references)
        candidates = by_stem.get(relative.with_suffix(""), [])
        taken.update(candidates)
        best = _best(relative, candidates)
        if len(best) == 1:
            passed = sorted(path.name for path in candidates if path != best[0])
            note = f"scored {best[0].name}, not {', '.join(passed)}" if passed else ""
            matched.append((reference, best[0], note))
        elif best:
            names = ", ".join(path.name for path in best)
            unscored.append(Unscored(reference, f"more than one estimate fits: {names}"))
        else:
            unscored.append(Unscored(reference, f"has no estimate in {estimates}"))
    alone = (path for path in found if path not in taken)
    unscored += [Unscored(path, f"has no reference in {references}") for path in alone]
    return matched, unscored


def _best(relative: Path, candidates: Sequence[Path]) -> list[Path]:
    """The candidates of the first rule that fits; see `match_files`."""
    rules: tuple[Callable[[Path], bool], ...] = (
        lambda path: path.name == f"{relative.stem}{ENHANCED_MARK}{relative.suffix}",
        lambda path: path.name == relative.name,
        lambda path: path.stem.endswith(ENHANCED_MARK),
        lambda path: True,
    )
    for rule in rules:
        if fitting := [path for path in candidates if rule(path)]:
            return fitting
    return []


def _audio_files(folder: Path) -> list[Path]:
    """Every file below a folder whose name says audio or video, by name."""
    return sorted(path for path in folder.rglob("*") if is_media_name(path) and path.is_file())
