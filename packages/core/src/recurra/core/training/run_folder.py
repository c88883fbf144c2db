"""The folder of one training run: its config, checkpoints, and exported models.

    config.json                     what was asked for, of which data, and in how many processes
    checkpoints/step-00001000.pt    the last two states of the training
    best/ last/                     models in the form that `from_pretrained` reads
    metrics.csv tensorboard/        written by `MetricsLog`

Whatever moment the process dies at, the folder holds a state to go on from: every file appears
under its name only when it is complete and on the disk.
"""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from recurra.core.errors import RecurraError
from recurra.core.files import replaced_file
from recurra.core.training.fit_config import FREE_TO_CHANGE, FitConfig

FORMAT = 1
KEPT = 2
_SHOWN = 3  # differences in one message


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file through `write(binary stream)` so that it is there whole or not at all.

    Raises:
        RecurraError: the disk is full or not writable; what was at `path` before is untouched.
    """
    try:
        with replaced_file(path) as partial, open(partial, "wb") as stream:
            write(stream)
    except RuntimeError as error:  # torch reports a full disk as one
        raise RecurraError(f"cannot write {path}: {' '.join(str(error).split())}") from error


class RunFolder:
    """A folder that this process may write a run into.

    Args:
        path: created, for the user alone (0700), if it is missing.
        config: of the run.
        processes: of the run.
        resume: whether a run that is already there is to be gone on with.
        settings: see `fit`.

    Raises:
        RecurraError: the folder holds something else, a run while `resume` is false, a run of
            another config or other settings, or a run that another process is working on.
    """

    def __init__(
        self,
        path: Path,
        config: FitConfig,
        processes: int,
        *,
        resume: bool,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            entries = {entry.name for entry in path.iterdir()} - {".lock"}
        except OSError as error:
            raise RecurraError(f"cannot use {path} as a run folder: {error.strerror}") from error
        begun = "config.json" in entries
        if not begun and entries - {".config.json.partial"}:
            raise RecurraError(
                f"{path} is not empty and holds no training run: name another folder"
            )
        if begun and not resume:
            raise RecurraError(f"{path} already holds a run: resume it or name another folder")
        path.chmod(0o700)
        self._lock = _lock(path)
        record = {
            "format": FORMAT,
            "processes": processes,
            "config": asdict(config),
            "settings": dict(settings or {}),
        }
        text = json.dumps(record, indent=2) + "\n"
        if begun:
            _check_same_run(path, json.loads(text))
        replace_file(path / "config.json", lambda stream: stream.write(text.encode()))
        self.checkpoints.mkdir(exist_ok=True)
        self._clear_leftovers()

    def close(self) -> None:
        """Let another process work on the run."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _clear_leftovers(self) -> None:
        """Remove what a killed process left half done, and bring back what it had moved aside."""
        for partial in self.checkpoints.glob(".*.partial"):
            partial.unlink()
        for name in ("best", "last"):
            shutil.rmtree(self.path / f".{name}.partial", ignore_errors=True)
            aside = self.path / f".{name}.old"
            if aside.is_dir() and not (self.path / name).exists():
                aside.rename(self.path / name)
            shutil.rmtree(aside, ignore_errors=True)

    def save(self, state: dict[str, Any]) -> Path:
        """Write the checkpoint of `state["step"]`, then drop all but the last two.

        Raises:
            RecurraError: the disk is full or not writable; earlier checkpoints are untouched.
        """
        path = self.checkpoints / f"step-{state['step']:08d}.pt"
        replace_file(path, lambda stream: torch.save({"format": FORMAT, **state}, stream))
        for old in _checkpoints(self.path)[KEPT:]:
            old.unlink()
        return path

    def export(self, name: str, model: nn.Module) -> None:
        """Save `model` as the folder `name`, never half there, if it has `save_pretrained`."""
        save = getattr(model, "save_pretrained", None)
        if save is None:
            return
        target, fresh, aside = (self.path / n for n in (name, f".{name}.partial", f".{name}.old"))
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            save(fresh)
            if target.exists():
                target.rename(aside)
            fresh.rename(target)
        except OSError as error:
            raise RecurraError(f"cannot write {target}: {error}") from error
        shutil.rmtree(aside, ignore_errors=True)


def latest_checkpoint(path: Path) -> dict[str, Any] | None:
    """The newest state in the run folder `path` that can be read, on the CPU, or None.

    A damaged file (a disk that lost what it had promised) is passed over with a warning.
    """
    for file in _checkpoints(path):
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            if state["format"] != FORMAT:
                raise RecurraError(f"{file} is of format {state['format']}, not {FORMAT}")
            return state
        except RecurraError:
            raise
        except Exception as error:  # torch raises many kinds for a damaged file
            reason = " ".join(str(error).split())[:200]
            warnings.warn(f"{file} is damaged and passed over: {reason}", stacklevel=2)
    return None


def _checkpoints(path: Path) -> list[Path]:
    """The complete checkpoints of a run, newest first."""
    files = (path / "checkpoints").glob("step-*.pt")
    return sorted(files, key=lambda file: int(file.stem.removeprefix("step-")), reverse=True)


def _lock(path: Path) -> int | None:
    """Hold the run for this process until it ends, however it ends; None where locks are missing.

    A record lock (lockf) is used because, unlike flock, data workers do not inherit it: after a
    kill they live on for some seconds, and the next sitting must not wait for them.
    """
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise RecurraError(f"another process is training in {path}") from error
    return descriptor


def _check_same_run(path: Path, now: dict[str, Any]) -> None:
    """Raise RecurraError unless the run in `path` can be gone on with as what is asked for `now`.

    Both are records as they stand in config.json.
    """
    try:
        before = json.loads((path / "config.json").read_text())
        config, settings = dict(before["config"]), _flat(before.get("settings", {}))
        processes = int(before["processes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecurraError(f"{path / 'config.json'} is not the config of a run: {error}") from error
    may_rise = {"max_steps": now["config"]["max_steps"] > config.get("max_steps", 0)}
    differing = [
        f"{name} was {old.get(name)!r}, now {new.get(name)!r}"
        for old, new in ((config, now["config"]), (settings, _flat(now["settings"])))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in FREE_TO_CHANGE
        if not may_rise.get(name)
    ]
    if processes != now["processes"]:
        differing.append(f"processes were {processes}, now {now['processes']}")
    if differing:
        shown = "; ".join(differing[:_SHOWN])
        more = f"; {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise RecurraError(
            f"{path} holds another run ({shown}{more}): name another folder for this one (--run), "
            "or delete that one"
        )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under names such as "network.d_model"."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        whole = prefix + name
        flat |= _flat(value, f"{whole}.") if isinstance(value, dict) else {whole: value}
    return flat
