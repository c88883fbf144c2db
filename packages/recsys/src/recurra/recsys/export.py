"""ONNX files of our models, checked with onnxruntime."""

import json
from dataclasses import dataclass
from pathlib import Path

from recurra.core.errors import RecurraError
from recurra.core.files import replaced_file
from recurra.core.onnx_file import open_onnx, require_onnx, write_onnx
from recurra.core.pretrained import resolve
from recurra.recsys.onnx_forms import OneEvent, WholeHistories
from recurra.recsys.recommender import Recommender

_PACKAGE = "recurra-recsys"
_LIMIT = 1e-4


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the .onnx file.
        max_error: largest difference between onnxruntime and torch, as a share of the largest
            score.
        stored_bytes: of the file.
        metadata: what the file says about itself.
    """

    path: Path
    max_error: float
    stored_bytes: int
    metadata: dict[str, str]


def export_onnx(name_or_path: str | Path, path: str | Path) -> ExportReport:
    """Write a model as one ONNX file and check it against torch with onnxruntime.

    It maps `histories` (rows, length) int64, numbers of items, oldest first, rows filled up with
    zeros behind, to `scores` (rows, V + 1), of which column 0 is no item; rows and length are free,
    from one event up to `max_events`. Leaving out what was seen is left to the caller. The metadata
    has the items' own ids, and which number each has.

    A network that streams (`NextItemModel.streams`) is one step: `item` (rows,) int64, what each
    user took, and a state of several parts give `scores` (rows, V + 1) of what comes next and the
    state behind it, each part named as before with `next.` in front. The first state is zeros. The
    item 0 is no event: its row keeps its state. `inputs` and `outputs` of the metadata list the
    parts.

    Raises:
        RecurraError: no such model, the file is not named .onnx or cannot be written, or its output
            differs by over 1e-4.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise RecurraError(f"{path}: models are written as .onnx")
    require_onnx(_PACKAGE)
    folder = resolve(name_or_path, shipped_in=None)
    recommender = Recommender.from_pretrained(folder)
    # The file is passed on: it says what the model is called, not where it lay on this machine.
    name = folder.name if Path(name_or_path).is_dir() else str(name_or_path)
    model = recommender.model
    form = OneEvent(model) if model.streams else WholeHistories(model)
    ids = [value if isinstance(value, int) else str(value) for value in recommender.log.items]
    metadata = {
        "model": name,
        "kind": model.kind,
        **form.metadata(),
        "items": json.dumps(ids),  # the item with number n is the n-th of these, from 1
    }
    with replaced_file(path) as partial:
        example, shapes = form.example()
        write_onnx(
            form,
            partial,
            example,
            inputs=form.inputs,
            outputs=form.outputs,
            dynamic_shapes=shapes,
            metadata=metadata,
            package=_PACKAGE,
        )
        error = form.error(open_onnx(partial, package=_PACKAGE))
        if not error <= _LIMIT:
            raise RecurraError(
                f"the ONNX file differs from the model by {error:.2g}, over {_LIMIT:g}: not written"
            )
    return ExportReport(path, error, path.stat().st_size, metadata)
