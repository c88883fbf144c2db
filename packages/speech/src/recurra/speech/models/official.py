"""Make a model folder of an official checkpoint, whichever of the known ones it is."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from recurra.core.errors import CheckpointError, RecurraError
from recurra.core.pretrained import (
    Pretrained,
    check_replaceable,
    download,
    is_hub_id,
    read_foreign,
)
from recurra.speech.models import frcrn_official, mossformer2_official, mossformer2_sr_official

_THREE_FILES = ("encoder", "masknet", "decoder")
_ENDINGS = (".pt", ".pth", ".ckpt")
_HUB_FILES = ("last_best_checkpoint*", "*.pt", "*.ckpt")
_WRAPPERS = ("model", "mossformer", "generator")
_LAYOUTS = (
    "FRCRN_SE_16K",
    "MossFormer2_SE_48K",
    "MossFormer2_SS_16K",
    "MossFormer2_SR_48K (two files)",
    "MossFormer2 (three files)",
)
_PAPERS_RATE = 8000  # of the separators that come in three files
_CARD = """# {kind}, imported

Made by `recurra-speech import-checkpoint`, of {n_read} tensors in the layout of the official
{layout}. What the weights may be used for is what their source says.

| file | SHA-256 |
|---|---|
{files}
"""


@dataclass(frozen=True)
class Imported:
    """What became of a checkpoint.

    Attributes:
        model: in eval mode, as its folder gives it.
        layout: which official checkpoint it is.
        n_read: tensors in the checkpoint.
        left: by reason, the names of those that have no place in the model.
    """

    model: Pretrained
    layout: str
    n_read: int
    left: dict[str, list[str]]


def import_official(
    checkpoint: str | Path | Sequence[Path],
    folder: str | Path,
    *,
    sample_rate: int | None = None,
    masking: bool = True,
) -> Imported:
    """Make a model folder of an official checkpoint.

    Args:
        checkpoint: the file that torch.save wrote, bare or under the key "model"; the two files of
            `MossFormer2_SR_48K`, `_m.pt` and `_g.pt`; the folder in which `last_best_checkpoint`
            names it or them; the folder of `encoder.ckpt`, `masknet.ckpt` and `decoder.ckpt`; or an
            id of the Hugging Face Hub for one of these folders, such as
            `alibabasglab/MossFormer2_SE_48K`.
        folder: new, empty, or an earlier model folder, which is replaced.
        sample_rate: that a separator was trained at, in Hz: its tensors do not tell. None is 8000
            for those three files, else 16000.
        masking: False for a separator whose network gives the voices themselves and not masks, as
            the paper's for WHAMR! does: its tensors do not tell.

    Raises:
        CheckpointError: it is not there, not such a checkpoint, damaged or incomplete.
        RecurraError: `folder` holds something else, or the Hub has no such thing.
    """
    check_replaceable(Path(folder))
    given = [Path(checkpoint)] if isinstance(checkpoint, str | Path) else list(checkpoint)
    paths = _files(given[0]) if len(given) == 1 else given
    tensors = _read(paths)
    if sample_rate is None:
        sample_rate = _PAPERS_RATE if len(paths) == len(_THREE_FILES) else 16000
    named = paths[0] if len(paths) == 1 else " and ".join(map(str, given))
    try:
        layout, model, left = _build(tensors, sample_rate, masking)
    except RecurraError as error:
        raise CheckpointError(f"{named}: {error}") from error
    card = _CARD.format(
        kind=model.kind,
        n_read=len(tensors),
        layout=layout,
        files="\n".join(f"| `{path.name}` | `{_sha256(path)}` |" for path in paths),
    )
    model.save_pretrained(folder, card=card)
    return Imported(model, layout, len(tensors), left)


def _build(
    tensors: dict[str, Tensor], sample_rate: int, masking: bool
) -> tuple[str, Pretrained, dict[str, list[str]]]:
    """Tell by the first word of the names what the checkpoint is, and build it."""
    first_words = {re.sub(r"^(module\.)?(model\.)?", "", name).split(".")[0] for name in tensors}
    if any(map(mossformer2_sr_official.is_generator, tensors)) or _makes_what_it_is_given(tensors):
        return "MossFormer2_SR_48K", *mossformer2_sr_official.upsampler(tensors)
    if "mossformer" in first_words:
        return "MossFormer2_SE_48K", *mossformer2_official.enhancer(tensors)
    if first_words & {"mask_net", "masknet"}:
        layout = "MossFormer2_SS_16K" if "mask_net" in first_words else "MossFormer2 (three files)"
        build = mossformer2_official.separator
        return layout, *build(tensors, sample_rate=sample_rate, masking=masking)
    if first_words & {"unet", "unet2", "stft", "istft"}:
        return "FRCRN_SE_16K", *frcrn_official.network(tensors)
    raise CheckpointError(
        f"is of no layout that is known; known are {', '.join(_LAYOUTS)}; its tensors begin with "
        f"{', '.join(sorted(first_words)[:5])}"
    )


def _makes_what_it_is_given(tensors: dict[str, Tensor]) -> bool:
    """Tell a stack from frames to frames alike, of super-resolution, from one that makes a mask."""
    widths = {}
    for name, value in tensors.items():
        for layer, axis in (("conv1d_encoder", 1), ("conv1_decoder", 0)):
            if name.endswith(f"mossformer.{layer}.weight") and value.dim() == 3:
                widths[layer] = value.shape[axis]
    return len(widths) == 2 and len(set(widths.values())) == 1


def _files(checkpoint: Path) -> Sequence[Path]:
    """Find the files of a checkpoint: itself, or what a folder, here or on the Hub, names."""
    name = checkpoint.as_posix()
    if not checkpoint.exists() and checkpoint.suffix not in _ENDINGS and is_hub_id(name):
        checkpoint = download(name, _HUB_FILES)
    if not checkpoint.is_dir():
        return [checkpoint]
    three = [checkpoint / f"{part}.ckpt" for part in _THREE_FILES]
    if any(path.is_file() for path in three):
        return three
    pointer = checkpoint / "last_best_checkpoint"
    if not pointer.is_file():
        raise CheckpointError(
            f"{checkpoint} holds no last_best_checkpoint; give the .pt file, or the folder of "
            f"{', '.join(path.name for path in three)}"
        )
    lines = pointer.read_text(encoding="utf-8", errors="replace").split("\n")[:2]
    # Training writes the path that it had on its own machine.
    first, *second = [checkpoint / Path(line.strip()).name for line in lines]
    return [first, *(path for path in second if path.is_file())]


def _read(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Read all files; the names of three begin with what their file is called."""
    if len(paths) == 1:
        return read_foreign(paths[0], under=_WRAPPERS)
    if len(paths) == 2:
        return read_foreign(paths[0], under=_WRAPPERS) | read_foreign(paths[1], under=_WRAPPERS)
    return {
        f"{path.stem}.{name}": tensor
        for path in paths
        for name, tensor in read_foreign(path, prefixes=("module.",)).items()
    }


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
