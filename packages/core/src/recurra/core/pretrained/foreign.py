"""Checkpoints of other projects: tensors only, never code, limited in size."""

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from recurra.core.errors import CheckpointError

_GIB = 2**30


def read_foreign(
    path: str | Path,
    *,
    max_bytes: int = 2 * _GIB,
    under: Sequence[str] = (),
    prefixes: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file or of one that torch.save wrote (.pt, .ckpt, .th).

    Args:
        path: the file. Nothing in it is ever executed (`weights_only=True`).
        max_bytes: limit on the file, and on what it holds once uncompressed.
        under: keys that may wrap the state dict, such as ("model", "state_dict"): the first that
            is there and is a dict is opened, one level; a file without any is taken as it is.
        prefixes: what each name may begin with, such as ("module.", "model."); each is stripped
            once, in this order.

    Returns:
        Tensors by name, on the CPU, in the dtype that they were stored in. Those of a .pt file may
        be mapped from the file, so it must not be changed while they are in use.

    Raises:
        CheckpointError: the file is missing, too large, not a checkpoint, holds pickled code, or
            holds something else than named tensors.
    """
    path = Path(path)
    _check_size(path, max_bytes)
    loaded = (
        _load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path, max_bytes)
    )
    named = _named_tensors(path, _unwrapped(loaded, under))
    return _stripped(path, named, prefixes)


def _check_size(path: Path, max_bytes: int) -> None:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a checkpoint file")
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    _check_bytes(path, path.stat().st_size, max_bytes)


def _check_bytes(path: Path, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise CheckpointError(
            f"{path} holds {size / _GIB:.2f} GiB, over the limit of {max_bytes / _GIB:.2f} GiB"
        )


def _load_safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error


def _load_torch(path: Path, max_bytes: int) -> Any:
    zipped = zipfile.is_zipfile(path)
    try:
        if zipped:
            # torch never compresses, but a file made to harm could: a few KiB that unpack to TiB.
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            _check_bytes(path, unpacked, max_bytes)
        # Only the zipped form, the default since torch 1.6, can be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise CheckpointError(
                f"{path} holds pickled code, which is never run; save its state_dict() alone"
            ) from error
        raise CheckpointError(f"{path} is not a checkpoint that torch.save wrote") from error
    # A damaged pickle can fail in any way: the unpickler is a small machine run on its bytes.
    except Exception as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: it is damaged") from error


def _unwrapped(loaded: Any, under: Sequence[str]) -> Any:
    if isinstance(loaded, dict):
        for key in under:
            if isinstance(loaded.get(key), dict):
                return loaded[key]
    return loaded


def _named_tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not tensors by name")
    other = [
        str(key)
        for key, value in loaded.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if other or not loaded:
        names = ", ".join(other[:5]) + (" ..." if len(other) > 5 else "")
        what = f"entries that are not tensors: {names}" if other else "no tensors"
        raise CheckpointError(f"{path} holds {what}")
    return loaded


def _stripped(path: Path, tensors: dict[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    stripped: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short = name
        for prefix in prefixes:
            short = short.removeprefix(prefix)
        if short in stripped:
            raise CheckpointError(f"{path} holds {short!r} twice, with and without a prefix")
        stripped[short] = tensor
    return stripped
