"""The clips that training reads: decoded once, trimmed, stored flat, with an index.

`build_corpus` turns the fetched packages into `clips/<package>.npy` (int16, one long row of
samples) and `clips/<package>.json` (where each clip lies). `Corpus` reads them through memory maps,
so that worker processes share one copy.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from recurra.core.errors import RecurraError
from recurra.core.files import replaced_file
from recurra.speech.data.debian_archive import AUDIO_SUFFIXES
from recurra.speech.data.decode import UnusableSoundError, decode
from recurra.speech.data.fetch import sounds_folder
from recurra.speech.data.filtering import SAMPLE_RATE
from recurra.speech.data.manifest import Manifest, Package, Split, load_manifest
from recurra.speech.data.speech_level import active_level_db
from recurra.speech.data.trimming import level_speech, limit_peak, trim

_VERSION = 1
# A single syllable lasts 0.15 s; mixing joins such clips by short gaps.
MIN_SECONDS = {"speech": 0.15, "noise": 0.05}
# Narrowband speech would teach that nothing lies above 4 kHz; noise may be narrow.
MIN_RATE = {"speech": 16_000, "noise": 8_000}
# Speech that dies away in its room ends at -40 dB; a fading cymbal or wind goes on for longer.
TRIM_DB = {"speech": 40.0, "noise": 60.0}
# Quieter than this, 16 bits no longer carry the signal.
MIN_LEVEL_DB = -60.0


@dataclass(frozen=True)
class Clip:
    """One stretch of sound: where it lies, whose voice or what kind of noise, how loud it is."""

    path: str
    package: str
    role: Literal["speech", "noise"]
    label: str
    split: Split
    start: int
    length: int
    level_db: float

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.length / SAMPLE_RATE


@dataclass(frozen=True)
class Built:
    """What became of one package."""

    package: str
    clips: int
    seconds: float
    left_out: dict[str, int]
    already_there: bool


def clips_folder(folder: Path) -> Path:
    """Where the decoded clips lie."""
    return Path(folder) / "clips"


def build_corpus(
    folder: Path, *, packages: Sequence[str] | None = None, manifest: Manifest | None = None
) -> Iterator[Built]:
    """Decode every fetched package; yields a report after each. What is built is left alone.

    Raises:
        RecurraError: a package has not been fetched.
    """
    manifest = manifest or load_manifest()
    target = clips_folder(folder)
    target.mkdir(parents=True, exist_ok=True)
    for package in manifest.select(None if packages is None else list(packages)):
        key = _cache_key(package, manifest)
        index = target / f"{package.name}.json"
        if (known := _read_index(index)) and known["key"] == key:
            seconds = sum(clip["length"] for clip in known["clips"]) / SAMPLE_RATE
            yield Built(package.name, len(known["clips"]), seconds, known["left_out"], True)
            continue
        source = sounds_folder(folder) / package.name
        if not source.is_dir():
            raise RecurraError(f"{source}: not there; run `recurra-speech data fetch` first")
        yield _build(package, manifest, source, target, key)


def _build(package: Package, manifest: Manifest, source: Path, target: Path, key: str) -> Built:
    """Decode one package into its flat array and its index."""
    samples: list[np.ndarray] = []
    clips: list[Clip] = []
    left_out: dict[str, int] = {}
    seen: set[bytes] = set()
    start = 0
    for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES):
        name = path.relative_to(source).as_posix()
        label = package.label_of(name)
        role = manifest.role_of(label or "")
        audio, reason = (None, "not wanted") if label is None else _usable(path, role, seen)
        if label is None or audio is None:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        split = manifest.voices[label].split if role == "speech" else package.splits[0]
        pcm = np.clip(np.rint(audio * 32768), -32768, 32767).astype(np.int16)
        level = round(active_level_db(audio), 2)
        clips.append(Clip(name, package.name, role, label, split, start, len(pcm), level))
        samples.append(pcm)
        start += len(pcm)
    flat = np.concatenate(samples) if samples else np.zeros(0, np.int16)
    # Given a name and not a file, np.save would add an ending to it.
    with replaced_file(target / f"{package.name}.npy") as partial, partial.open("wb") as out:
        np.save(out, flat)
    index = {"key": key, "left_out": left_out, "clips": [asdict(clip) for clip in clips]}
    with replaced_file(target / f"{package.name}.json") as partial:
        partial.write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")
    return Built(package.name, len(clips), start / SAMPLE_RATE, left_out, False)


def _usable(path: Path, role: str, seen: set[bytes]) -> tuple[np.ndarray | None, str]:
    """The trimmed samples of a file (T,), or None and the reason why it is left out."""
    digest = hashlib.sha256(path.read_bytes()).digest()
    if digest in seen:
        return None, "copy"
    seen.add(digest)
    try:
        audio, rate = decode(path)
    except UnusableSoundError:
        return None, "unreadable"
    if rate < MIN_RATE[role]:
        return None, "low rate"
    audio = trim(audio, below_peak_db=TRIM_DB[role])
    if len(audio) < MIN_SECONDS[role] * SAMPLE_RATE:
        return None, "short"
    if active_level_db(audio) < MIN_LEVEL_DB:
        return None, "silent"
    audio = level_speech(audio) if role == "speech" else limit_peak(audio)
    return audio, ""


def _cache_key(package: Package, manifest: Manifest) -> str:
    """Changes with the package, its rules, the splits of its voices and how clips are cut."""
    splits = {name: voice.split for name, voice in manifest.voices.items()}
    used = [(glob, label, splits.get(label or "")) for glob, label in package.rules]
    text = json.dumps([_VERSION, package.sha256, package.splits, used])
    return hashlib.sha256(text.encode()).hexdigest()


def _read_index(path: Path) -> dict | None:
    """The index of a package, or None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class Corpus:
    """All clips of a folder, by split; samples are read through memory maps, one a package.

    A Corpus can be sent to worker processes: only paths and indexes travel.
    """

    def __init__(self, folder: Path, packages: Sequence[str] | None = None) -> None:
        """Read the indexes under `folder`/clips, of all packages or those named.

        Raises:
            RecurraError: there is no index.
        """
        self.folder = clips_folder(folder)
        found = sorted(p for p in self.folder.glob("*.json") if not p.name.startswith("."))
        chosen = [p for p in found if packages is None or p.stem in packages]
        indexes = [index for p in chosen if (index := _read_index(p))]
        if not indexes:
            raise RecurraError(f"{self.folder}: no clips there; run `recurra-speech data fetch`")
        self.clips = [Clip(**fields) for index in indexes for fields in index["clips"]]
        self._by_name = {(clip.package, clip.path): clip for clip in self.clips}
        self._arrays: dict[str, np.ndarray] = {}

    def digest(self) -> str:
        """What there is to draw from, in 16 hexadecimal digits: the clips and their places."""
        clips = json.dumps([asdict(clip) for clip in self.clips])
        return hashlib.sha256(clips.encode()).hexdigest()[:16]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_arrays": {}}

    def select(self, split: Split, role: Literal["speech", "noise"]) -> list[Clip]:
        """The clips of one split and role, in a fixed order."""
        return [clip for clip in self.clips if clip.split == split and clip.role == role]

    def find(self, package: str, path: str) -> Clip:
        """The clip that was made of a file of a package.

        Raises:
            RecurraError: there is none.
        """
        try:
            return self._by_name[package, path]
        except KeyError:
            raise RecurraError(
                f"{self.folder}: no clip {path!r} of the package {package!r}; "
                "give the corpus that has it"
            ) from None

    def read(self, clip: Clip, start: int = 0, length: int | None = None) -> np.ndarray:
        """Samples of a clip.

        Args:
            clip: one of `clips`.
            start: the first sample, counted from the beginning of the clip.
            length: how many at most; all by default.

        Returns:
            (T,) float32, a copy, cut at the end of the clip.
        """
        if clip.package not in self._arrays:
            path = self.folder / f"{clip.package}.npy"
            self._arrays[clip.package] = np.load(path, mmap_mode="r")
        stop = clip.length if length is None else min(start + length, clip.length)
        pcm = self._arrays[clip.package][clip.start + start : clip.start + stop]
        return np.asarray(pcm).astype(np.float32) * np.float32(1 / 32768)
