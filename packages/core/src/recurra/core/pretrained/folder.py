"""The folder of a model: config.json, model.safetensors and its card, written whole or not."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from recurra.core.errors import CheckpointError, RecurraError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"


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
) -> None:
    """Write a model folder under a temporary name beside it, then rename it into place.

    An earlier model folder is replaced; its card is kept where no new one is given. Killed at any
    moment, `folder` is the old model or the new one, or, for the instant between two renames, the
    old one under the name `.<folder>.previous`.

    Raises:
        RecurraError: `folder` holds something that is not a model, or is a file.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    previous = folder.with_name(f".{folder.name}.previous")
    # The names are fixed, so that what a killed writer left behind is cleared by the next.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
        (partial / CONFIG).write_text(text, encoding="utf-8")
        safetensors.torch.save_file(dict(tensors), partial / WEIGHTS, metadata={"format": "pt"})
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


def _check_replaceable(folder: Path) -> None:
    if not folder.name:
        raise RecurraError(f"{folder} has no name to save a model under")
    if not folder.is_dir():
        if folder.exists():
            raise RecurraError(f"{folder} is a file; give a folder to save the model in")
        return
    names = {entry.name for entry in folder.iterdir()}
    if names and not ({CONFIG, WEIGHTS} <= names <= {CONFIG, WEIGHTS, CARD}):
        foreign = sorted(names - {CONFIG, WEIGHTS, CARD}) or sorted(names)
        raise RecurraError(
            f"{folder} is not a model folder (it holds {', '.join(foreign[:3])}); "
            "give a new or empty folder"
        )
