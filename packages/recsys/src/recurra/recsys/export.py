"""ONNX files of our models, checked with onnxruntime."""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recurra.core.errors import RecurraError, import_extra
from recurra.core.files import replaced_file
from recurra.core.pretrained import resolve
from recurra.recsys.onnx_forms import OneEvent, WholeHistories
from recurra.recsys.recommender import Recommender

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
        RecurraError: no such model, the file cannot be written, or its output differs by over 1e-4.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(module, extra="export", package="recurra-recsys")
    path = Path(path)
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
        _write(form, partial, metadata)
        error = form.error(_session(partial))
        if not error <= _LIMIT:
            raise RecurraError(
                f"the ONNX file differs from the model by {error:.2g}, over {_LIMIT:g}: not written"
            )
    return ExportReport(path, error, path.stat().st_size, metadata)


def _write(form: WholeHistories | OneEvent, path: Path, metadata: dict[str, str]) -> None:
    onnx = import_extra("onnx", extra="export", package="recurra-recsys")
    example, shapes = form.example()
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            form.eval(),
            example,
            dynamo=True,
            input_names=list(form.inputs),
            output_names=list(form.outputs),
            dynamic_shapes=shapes,
            verbose=False,
        )
    proto = program.model_proto
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    for node in [n for graph in (proto.graph, *proto.functions) for n in graph.node]:
        del node.metadata_props[:]  # where in which file each node came from, as paths
        node.doc_string = ""
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from talking about its own workings and about torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _session(path: Path) -> Any:
    runtime: Any = import_extra("onnxruntime", extra="export", package="recurra-recsys")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
