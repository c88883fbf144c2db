"""Audio that is being written: a temporary file that takes its place only when it is complete."""

import errno
import os
import secrets
import shutil
import stat
import tempfile
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from recurra.speech.audio.format import AudioError, AudioFormat, AudioWarning

Audio = NDArray[np.float32]


class Placement:
    """A new file under a temporary name in the target's folder, moved into place at the end.

    The target can also be a binary stream, or a device or named pipe: then the finished file is
    copied into it, so that formats that must go back to their header can be piped too.

    Args:
        target: path or binary stream.
        overwrite: whether a file that is there may be replaced.

    Raises:
        AudioError: the target exists, or its folder is missing or not writable.
    """

    def __init__(self, target: str | os.PathLike[str] | BinaryIO, overwrite: bool) -> None:
        self.stream: BinaryIO | None = None
        self.overwrite = overwrite
        if hasattr(target, "write"):
            self.stream, self.name = target, "standard output"
            self.path, folder = None, Path(tempfile.gettempdir())
        else:
            path = Path(target)
            check_target(path, overwrite)
            self.name = str(path)
            # A link is written through, as every program that opens it would do.
            self.path = path.resolve()
            folder = self.path.parent if not is_device(path) else Path(tempfile.gettempdir())
        stem = self.path.stem[:40] if self.path else "audio"
        self.temporary = folder / f".{stem}.{secrets.token_hex(6)}.part"
        try:
            # "x" and not mkstemp: the finished file has the permissions of any new file.
            open(self.temporary, "xb").close()
        except OSError as error:
            raise write_error(self.name, error) from error

    def commit(self) -> None:
        """Move or copy the finished file to the target.

        Raises:
            AudioError: the target came into being meanwhile, or the disk is full.
        """
        try:
            if self.path is None or is_device(self.path):
                self._copy()
            elif self.overwrite:
                os.replace(self.temporary, self.path)
            else:
                self._place_new()
        except FileExistsError:
            raise AudioError(f"{self.name}: exists; --force overwrites it") from None
        except OSError as error:
            raise write_error(self.name, error) from error
        finally:
            self.discard()

    def _place_new(self) -> None:
        assert self.path is not None
        try:
            os.link(self.temporary, self.path)  # unlike rename, fails where a file is
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if self.path.exists():
                raise FileExistsError(self.path) from None
            os.replace(self.temporary, self.path)

    def _copy(self) -> None:
        with open(self.temporary, "rb") as finished:
            if self.stream is not None:
                shutil.copyfileobj(finished, self.stream, 1 << 20)
                self.stream.flush()
            else:
                assert self.path is not None
                with open(self.path, "wb") as device:
                    shutil.copyfileobj(finished, device, 1 << 20)

    def discard(self) -> None:
        """Remove the temporary file; safe to call twice."""
        self.temporary.unlink(missing_ok=True)


class AudioSink(ABC):
    """Audio written block by block. A context manager: an exception inside leaves nothing behind.

    Attributes:
        format: what is being written.
        frames: samples a channel written so far.
        clipped: samples beyond full scale that were cut to it (formats of whole numbers only).
    """

    def __init__(
        self, placement: Placement, audio_format: AudioFormat, sample_rate: int, channels: int
    ) -> None:
        self.placement, self.format = placement, audio_format
        self.sample_rate, self.channels = sample_rate, channels
        self.frames = self.clipped = 0
        self._open = True

    def write(self, block: Audio) -> None:
        """Append a block (C, n), float with full scale at 1, n >= 0.

        Raises:
            ValueError: the block does not have `channels` rows.
            AudioError: a sample is NaN or infinite, or the file cannot grow (disk full).
        """
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"a block must be ({self.channels}, n), not {block.shape}")
        if block.shape[1] == 0:
            return
        if not np.isfinite(block).all():
            raise AudioError(f"{self.placement.name}: refuses to write NaN or infinite samples")
        self._encode(block)
        self.frames += block.shape[1]

    def close(self) -> None:
        """Finish the file and put it in its place; warns once if samples were clipped.

        Raises:
            AudioError: the end cannot be written, or the target came into being meanwhile.
        """
        if not self._open:
            return
        self._open = False
        try:
            self._finish()
            self.placement.commit()
        finally:
            self.placement.discard()
        if self.clipped:
            warnings.warn(
                f"{self.placement.name}: {self.clipped} samples were beyond full scale and clipped",
                AudioWarning,
                stacklevel=2,
            )

    def abort(self) -> None:
        """Give up: nothing is left at the target or beside it."""
        if not self._open:
            return
        self._open = False
        try:
            self._drop()
        finally:
            self.placement.discard()

    @abstractmethod
    def _encode(self, block: Audio) -> None:
        """Write a block (C, n)."""

    @abstractmethod
    def _finish(self) -> None:
        """Complete the file under its temporary name."""

    @abstractmethod
    def _drop(self) -> None:
        """Let go of the file, which is thrown away."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def is_device(path: Path) -> bool:
    """Whether `path` is there and neither a file nor a folder: /dev/null, a named pipe."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_target(path: Path, overwrite: bool) -> None:
    """Check that a file can be created at `path`.

    Raises:
        AudioError: it exists and `overwrite` is false, is a folder, or its folder is missing or
            not writable.
    """
    if path.is_dir():
        raise AudioError(f"{path}: is a folder; give the name of a file")
    if is_device(path):
        return
    if path.exists() and not overwrite:
        raise AudioError(f"{path}: exists; --force overwrites it")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise AudioError(f"{path}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise AudioError(f"{path}: the folder {folder} is not writable")


def write_error(name: str, error: BaseException, folder: Path | None = None) -> AudioError:
    """The one line for a file that cannot be written, which says so when the disk is full."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if folder is not None and not full:
        full = shutil.disk_usage(folder).free < 1 << 16
    if full:
        return AudioError(f"{name}: cannot be written: no space left on the disk")
    reason = getattr(error, "strerror", None) or str(error) or "the file cannot grow"
    return AudioError(f"{name}: cannot be written: {reason}")
