"""From a model's name to its folder: shipped weights, then a local folder, then the Hub."""

import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from recurra.core.errors import (
    CheckpointError,
    MissingExtraError,
    RecurraError,
    import_extra,
)
from recurra.core.pretrained.folder import CARD, CONFIG

# What `owner/name` may be on the Hugging Face Hub; anything else is never asked for there.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = (CONFIG, "*.safetensors", CARD, "*.parquet", "*.json")


def resolve(
    name_or_path: str | Path, *, shipped_in: str | None, revision: str | None = None
) -> Path:
    """Find the folder of a model.

    Tried in this order: weights that ship in a package, a local folder, an id of the Hugging Face
    Hub. A shipped name wins over a folder of the same name in the working directory; `./name` says
    that the folder is meant.

    Args:
        name_or_path: `frcrn-small`, `runs/first/best` or `owner/name`.
        shipped_in: package whose folders are the shipped models, such as `recurra.speech.weights`;
            None where nothing ships.
        revision: branch, tag or commit on the Hub; with it only the Hub is asked.

    Returns:
        A folder that holds config.json.

    Raises:
        RecurraError: nothing of that name; the message lists what was tried and what ships.
        CheckpointError: the Hub has the id, and it holds no config.json.
        MissingExtraError: only the Hub is left and its library is not installed.
    """
    name = str(name_or_path)
    if revision is not None:
        if not is_hub_id(name):
            raise RecurraError(f"a revision needs a Hugging Face Hub id (owner/name), not {name!r}")
        return _from_hub(name, revision, tried=[])

    shipped = _shipped_folders(shipped_in)
    if name in shipped:
        return shipped[name]
    tried = [f"shipped are {', '.join(sorted(shipped))}" if shipped else "no models ship here"]

    local = Path(name).expanduser()
    if local.is_dir():
        if not (local / CONFIG).is_file():
            raise RecurraError(f"{local} is a folder without {CONFIG}, so it holds no model")
        return local
    if local.is_file():
        raise RecurraError(f"{local} is a file; a model is the folder that holds {CONFIG}")
    tried.append("no such folder")

    if not is_hub_id(name):
        raise _not_found(name, [*tried, "not a Hugging Face Hub id (owner/name)"])
    return _from_hub(name, None, tried)


def shipped_names(shipped_in: str | None) -> list[str]:
    """Names of the models that ship in the package `shipped_in`, sorted."""
    return sorted(_shipped_folders(shipped_in))


def _shipped_folders(package: str | None) -> dict[str, Path]:
    if package is None:
        return {}
    try:
        entries = list(importlib.resources.files(package).iterdir())
    except ModuleNotFoundError:
        return {}
    return {entry.name: Path(str(entry)) for entry in entries if (entry / CONFIG).is_file()}


def is_hub_id(name: str) -> bool:
    """Tell whether a name may be an id of the Hugging Face Hub, owner/name."""
    return _HUB_ID.fullmatch(name) is not None


def download(name: str, patterns: Sequence[str]) -> Path:
    """Bring files of the Hugging Face Hub here, or find what was brought before.

    Args:
        name: an id, owner/name.
        patterns: globs of the files that are wanted.

    Returns:
        A folder with those of the files that are there.

    Raises:
        RecurraError: there is no such id, or it cannot be had now; one line with the reason.
        MissingExtraError: the Hub's library is not installed.
    """
    return _download(name, patterns, None, [])


def _from_hub(name: str, revision: str | None, tried: list[str]) -> Path:
    folder = _download(name, _HUB_FILES, revision, tried)
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{name} on the Hugging Face Hub has no {CONFIG}")
    return folder


def _download(name: str, patterns: Sequence[str], revision: str | None, tried: list[str]) -> Path:
    try:
        hub = import_extra("huggingface_hub", extra="hub", package="recurra-core")
    except MissingExtraError as error:
        raise MissingExtraError("; ".join([f"no model {name!r}", *tried, str(error)])) from error
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    # Refused, offline, cut off while downloading: the library and its transport raise classes of
    # many families.
    except Exception as error:
        reason = _hub_reason(error, hub)
        raise _not_found(name, [*tried, f"Hugging Face Hub: {reason}"]) from error


def _hub_reason(error: Exception, hub: ModuleType) -> str:
    """What happened and what helps; the library's own messages have many lines."""
    if isinstance(error, hub.errors.GatedRepoError):
        return "its owner asks for consent; give it on the model's page, then `hf auth login`"
    if isinstance(error, hub.errors.RevisionNotFoundError):
        return "it has no such revision"
    if isinstance(error, hub.errors.RepositoryNotFoundError):
        return "no such id, or it is private; check the spelling, or `hf auth login`"
    if hub.constants.HF_HUB_OFFLINE:
        return "not downloaded yet, and HF_HUB_OFFLINE is set; unset it, or give a model folder"
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{first}; check the network, or give a model folder"


def _not_found(name: str, tried: list[str]) -> RecurraError:
    return RecurraError("; ".join([f"no model {name!r}", *tried]))
