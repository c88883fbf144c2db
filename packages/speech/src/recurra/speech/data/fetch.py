"""Bring the sound packages here: get each .deb, check its hash, take the audio files out of it."""

import hashlib
import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recurra.core.errors import RecurraError
from recurra.speech.data.debian_archive import extract_audio
from recurra.speech.data.manifest import Manifest, Package, load_manifest

_DONE = "fetched.json"
_BLOCK = 2**20


class FetchError(RecurraError):
    """A package that could not be had, or that is not the one of the manifest."""


@dataclass(frozen=True)
class Fetched:
    """One package on disk: its folder, how many audio files, and whether it was there before."""

    package: Package
    folder: Path
    files: int
    already_there: bool


def sounds_folder(folder: Path) -> Path:
    """Where the audio files of all packages lie: one folder a package."""
    return Path(folder) / "sounds"


def fetch(
    folder: Path,
    *,
    mirror: str | None = None,
    debs: Path | None = None,
    packages: Sequence[str] | None = None,
    manifest: Manifest | None = None,
) -> Iterator[Fetched]:
    """Fetch packages one by one into `folder`/sounds/<package>/; yields each when it is there.

    A package comes from the folder `debs`, else from the Debian mirror `mirror` (the address above
    pool/), else through `apt-get download`. What is complete already is left alone; a package
    appears under its name only when it is whole.

    Raises:
        FetchError: it cannot be had, or size or SHA-256 differ from the manifest. What `debs` does
            not hold is told before anything is made.
        ArchiveError: the package cannot be opened.
    """
    manifest = manifest or load_manifest()
    sounds = sounds_folder(folder)
    wanted = manifest.select(None if packages is None else list(packages))
    if debs is not None:
        new = [p for p in wanted if _fetched_files(sounds / p.name, p) is None]
        _check_all_there(new, Path(debs))
    sounds.mkdir(parents=True, exist_ok=True)
    for package in wanted:
        target = sounds / package.name
        files = _fetched_files(target, package)
        if files is not None:
            yield Fetched(package, target, files, already_there=True)
            continue
        with _deb(package, mirror, debs) as deb:
            check_package(deb, package)
            files = _unpack(deb, package, target)
        yield Fetched(package, target, files, already_there=False)


def check_package(deb: Path, package: Package) -> None:
    """Compare a .deb with the manifest.

    Raises:
        FetchError: its size or SHA-256 is another.
    """
    size = deb.stat().st_size
    if size != package.size:
        raise FetchError(f"{deb}: {size} bytes, the manifest says {package.size}")
    digest = hashlib.sha256()
    with deb.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != package.sha256:
        raise FetchError(
            f"{deb}: SHA-256 {digest.hexdigest()}, the manifest says {package.sha256}: "
            "not the same package"
        )


def _fetched_files(target: Path, package: Package) -> int | None:
    """The number of files of a package that is complete and of this version, else None."""
    try:
        done = json.loads((target / _DONE).read_text(encoding="utf-8"))
        return int(done["files"]) if done["sha256"] == package.sha256 else None
    except (OSError, ValueError, KeyError):
        return None


def _unpack(deb: Path, package: Package, target: Path) -> int:
    """Extract beside the target and rename: a half-unpacked package never bears its name."""
    with tempfile.TemporaryDirectory(prefix=f".{package.name}-", dir=target.parent) as temporary:
        partial = Path(temporary) / package.name
        partial.mkdir()
        files = extract_audio(deb, partial)
        if not files:
            raise FetchError(f"{deb}: no audio files in it")
        note = {"version": package.version, "sha256": package.sha256, "files": files}
        (partial / _DONE).write_text(json.dumps(note), encoding="utf-8")
        if target.exists():
            target.rename(Path(temporary) / "old")
        partial.rename(target)
    return files


@contextmanager
def _deb(package: Package, mirror: str | None, debs: Path | None) -> Iterator[Path]:
    """The .deb file of a package, wherever it comes from; a downloaded one is removed after use."""
    if debs is not None:
        found = _in_folder(package, Path(debs))
        if found is None:  # it was there when all were checked
            raise FetchError(f"{debs}: {package.file} is not there")
        yield found
        return
    with tempfile.TemporaryDirectory(prefix="recurra-fetch-") as temporary:
        if mirror is not None:
            yield _from_mirror(package, mirror, Path(temporary))
        elif shutil.which("apt-get"):
            yield _from_apt(package, Path(temporary))
        else:
            raise FetchError(
                f"{package.name}: no apt-get here; give a Debian mirror (--mirror) "
                "or a folder of .deb files (--debs)"
            )


def _check_all_there(packages: Sequence[Package], debs: Path) -> None:
    """See that a folder holds every package.

    Raises:
        FetchError: it does not; all that are missing are named.
    """
    missing = [package.file for package in packages if _in_folder(package, debs) is None]
    if missing:
        raise FetchError(
            f"{debs}: {len(missing)} of {len(packages)} packages are not there: "
            f"{', '.join(missing)}; put them there, or leave --debs out to download them"
        )


def _in_folder(package: Package, debs: Path) -> Path | None:
    """A .deb by the name that apt gives it or the one it bears on a mirror; None: not there."""
    for name in (package.file, package.pool.rsplit("/", 1)[-1]):
        if (debs / name).is_file():
            return debs / name
    return None


def _from_mirror(package: Package, mirror: str, folder: Path) -> Path:
    """Download over HTTP(S), or from a file: address."""
    address = f"{mirror.rstrip('/')}/{package.pool}"
    target = folder / package.file
    try:
        with urllib.request.urlopen(address, timeout=60) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, _BLOCK)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise FetchError(f"{address}: {error}") from error
    return target


def _from_apt(package: Package, folder: Path) -> Path:
    """Ask apt for exactly the version of the manifest."""
    command = ["apt-get", "download", f"{package.name}={package.version}"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.deb"))
    if run.returncode != 0 or not found:
        lines = run.stderr.strip().splitlines() or ["no message"]
        raise FetchError(f"{' '.join(command)}: {lines[-1]}")
    return found[0]
