"""The folder of a model: config.json, model.safetensors and its card, written whole or not."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from recurra.core.errors import CheckpointError, RecurraError
from recurra.core.files import replaced_file

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
FILES = "files"  # in config.json: names of further files of the folder, such as tables of ids


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read config.json of a model folder: the config's fields and `model`, the kind.

    Raises:
        CheckpointError: it is missing, is not JSON, or is not an object.
    """
    path = Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no {CONFIG}") from error
    except ValueError as error:  # Neither JSON nor UTF-8.
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds a {type(config).__name__}, not an object")
    return config


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """Read model.safetensors of a model folder, on the CPU, in the dtype it was stored in.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {WEIGHTS}")
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def write_folder(
    folder: str | Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    card: str | None,
    files: Mapping[str, Callable[[Path], object]] | None = None,
) -> None:
    """Write a model folder under a temporary name beside it, then rename it into place.

    An earlier model folder is replaced; its card is kept where no new one is given. Killed at any
    moment, `folder` is the old model or the new one, or, for the instant between two renames, the
    old one under the name `.<folder>.previous`.

    Args:
        folder: new, empty, or an earlier model folder.
        config: becomes config.json.
        tensors: become model.safetensors.
        card: text of README.md; None keeps the one that is replaced.
        files: further files by name, each written by a function of its path; config.json lists
            them.

    Raises:
        RecurraError: `folder` holds something that is not a model, or is a file.
    """
    folder, files = Path(folder), files or {}
    if FILES in config:
        raise ValueError(f"a config has no field {FILES!r}: config.json lists further files there")
    if files:
        config = {**config, FILES: sorted(files)}
    check_replaceable(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    previous = folder.with_name(f".{folder.name}.previous")
    # The names are fixed, so that what a killed writer left behind is cleared by the next.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
        (partial / CONFIG).write_text(text, encoding="utf-8")
        safetensors.torch.save_file(dict(tensors), partial / WEIGHTS, metadata={"format": "pt"})
        for name, write in files.items():
            write(partial / name)
        if card is not None:
            (partial / CARD).write_text(card, encoding="utf-8")
        elif (folder / CARD).is_file():
            shutil.copyfile(folder / CARD, partial / CARD)
        if folder.is_dir():
            shutil.rmtree(previous, ignore_errors=True)
            os.replace(folder, previous)
        os.replace(partial, folder)
    except BaseException:
        if previous.is_dir() and not folder.exists():
            os.replace(previous, folder)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(previous, ignore_errors=True)


def add_file(folder: str | Path, name: str, write: Callable[[Path], object]) -> None:
    """Put one more file into a model folder, or a new one in its place, whole or not at all.

    config.json names it from before it is there, so that a folder with it is one of a model at any
    moment; `write_folder` makes a folder without it again.

    Args:
        folder: of a model.
        name: of the file.
        write: writes it to the path that it is given.

    Raises:
        CheckpointError: there is no config.json, or it is damaged.
        RecurraError: a file cannot be written.
    """
    folder, config = Path(folder), read_config(folder)
    named = sorted({*map(str, config.get(FILES, [])), name})
    with replaced_file(folder / CONFIG) as partial:
        text = json.dumps({**config, FILES: named}, indent=2, allow_nan=False) + "\n"
        partial.write_text(text, encoding="utf-8")
    with replaced_file(folder / name) as partial:
        write(partial)


def check_replaceable(folder: Path) -> None:
    """Refuse a place where a model cannot be saved, before the work that makes one.

    Raises:
        RecurraError: `folder` is a file, or holds something that is not a model.
    """
    if not folder.name:
        raise RecurraError(f"{folder} has no name to save a model under")
    if not folder.is_dir():
        if folder.exists():
            raise RecurraError(f"{folder} is a file; give a folder to save the model in")
        return
    names = {entry.name for entry in folder.iterdir()}
    known = {CONFIG, WEIGHTS, CARD, *(_further_files(folder) if CONFIG in names else ())}
    if names and not ({CONFIG, WEIGHTS} <= names <= known):
        foreign = sorted(names - known) or sorted(names)
        raise RecurraError(
            f"{folder} is not a model folder (it holds {', '.join(foreign[:3])}); "
            "give a new or empty folder"
        )


def _further_files(folder: Path) -> list[str]:
    try:
        return list(map(str, read_config(folder).get(FILES, [])))
    except CheckpointError:
        return []
