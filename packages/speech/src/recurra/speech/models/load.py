"""Any model of this package by its name, folder or Hub id: what it is stands in its config."""

import shlex
from pathlib import Path

from recurra.core.errors import CheckpointError, RecurraError
from recurra.core.pretrained import Pretrained, read_config, resolve
from recurra.speech.models.frcrn import Frcrn
from recurra.speech.models.mossformer2_se import MossFormer2Se
from recurra.speech.models.mossformer2_sr import MossFormer2Sr
from recurra.speech.models.mossformer2_ss import MossFormer2Ss

EnhancingModel = Frcrn | MossFormer2Se
Model = EnhancingModel | MossFormer2Ss | MossFormer2Sr
_ENHANCING = (Frcrn, MossFormer2Se)
_SEPARATING = (MossFormer2Ss,)
_UPSAMPLING = (MossFormer2Sr,)
_WEIGHTS = "recurra.speech.weights"
_POINTER = "last_best_checkpoint"  # names the file that training found best
# By these `import-checkpoint` finds the other files of a folder.
_WHOLE_FOLDERS = {_POINTER, "encoder.ckpt", "masknet.ckpt", "decoder.ckpt"}


def load_enhancing(name_or_path: str | Path) -> EnhancingModel:
    """Load a model that takes noise out, in eval mode.

    Raises:
        RecurraError: there is no such model, or it does something else.
        CheckpointError: its files do not fit together.
    """
    return _load(name_or_path, _ENHANCING, "take noise out")


def load_separating(name_or_path: str | Path) -> MossFormer2Ss:
    """Load a model that takes voices apart, in eval mode.

    Raises:
        RecurraError: there is no such model, or it does something else.
        CheckpointError: its files do not fit together.
    """
    return _load(name_or_path, _SEPARATING, "take voices apart")


def load_upsampling(name_or_path: str | Path) -> MossFormer2Sr:
    """Load a model that makes the sound above a band, in eval mode.

    Raises:
        RecurraError: there is no such model, or it does something else.
        CheckpointError: its files do not fit together.
    """
    return _load(name_or_path, _UPSAMPLING, "make the sound above a band")


def load_any(name_or_path: str | Path) -> Model:
    """Load a model, whatever it does, in eval mode.

    Raises:
        RecurraError: there is no such model, or it is of a kind that this version does not know.
        CheckpointError: its files do not fit together.
    """
    folder = find_folder(name_or_path)
    return model_class(folder).from_pretrained(folder)


def find_folder(name_or_path: str | Path) -> Path:
    """Find the folder of a model by a shipped name, its path, or an id of the Hub.

    Raises:
        RecurraError: there is no such model; of an official checkpoint the message says how it
            becomes one.
    """
    try:
        return resolve(name_or_path, shipped_in=_WEIGHTS)
    except CheckpointError as error:  # the Hub has it, as it has the official ones
        raise RecurraError(
            f"{error}: of an official checkpoint make a model folder: "
            f"recurra-speech import-checkpoint {name_or_path} -o DIR"
        ) from error
    except RecurraError as error:
        given = _official_checkpoint(Path(name_or_path).expanduser())
        if not given:
            raise
        raise RecurraError(
            f"{name_or_path} is an official checkpoint; make a model folder of it: "
            f"recurra-speech import-checkpoint {shlex.join(map(str, given))} -o DIR"
        ) from error


def _official_checkpoint(path: Path) -> list[Path]:
    """What `import-checkpoint` takes of a file, or of a folder that is no model; empty if nothing.

    Only names are looked at.
    """
    if path.is_file():
        return [path] if _has_checkpoint_name(path) else []
    if not path.is_dir() or (path / "config.json").exists():
        return []
    files = sorted(entry for entry in path.iterdir() if _has_checkpoint_name(entry))
    if any(entry.name in _WHOLE_FOLDERS for entry in files):
        return [path]
    return files if len(files) <= 2 else [path / "FILE"]


def _has_checkpoint_name(path: Path) -> bool:
    return path.name.startswith(_POINTER) or path.suffix in {".pt", ".ckpt"}


def model_class(folder: Path) -> type[Model]:
    """Return the class of the model in a folder.

    Raises:
        RecurraError: it is of a kind that this version does not know.
        CheckpointError: the folder holds no readable config.
    """
    known = {model.kind: model for model in (*_ENHANCING, *_SEPARATING, *_UPSAMPLING)}
    kind = read_config(folder).get("model")
    if kind not in known:
        raise RecurraError(f"{folder} holds a model of kind {kind!r}; known are {', '.join(known)}")
    return known[kind]


def _load(name_or_path: str | Path, wanted: tuple[type[Pretrained], ...], purpose: str):
    folder = find_folder(name_or_path)
    found = model_class(folder)
    if found not in wanted:
        kinds = " or ".join(model.kind for model in wanted)
        raise RecurraError(
            f"{name_or_path} is a model of kind {found.kind}; to {purpose} give one of kind {kinds}"
        )
    return found.from_pretrained(folder)
