"""ONNX files of our models: histories in, scores of all items out, checked with onnxruntime."""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.errors import RecurraError, import_extra
from recurra.core.files import replaced_file
from recurra.core.pretrained import resolve
from recurra.recsys.models import NextItemModel
from recurra.recsys.neural import NetworkScorer
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
    module = NextItemScores(recommender.model)
    ids = [value if isinstance(value, int) else str(value) for value in recommender.log.items]
    metadata = {
        "model": name,
        "kind": recommender.model.kind,
        "max_events": str(module.max_events),
        "inputs": json.dumps({"histories": "(rows, length) int64 item numbers, 0 fills up behind"}),
        "outputs": json.dumps({"scores": "(rows, V + 1) float32 logits, column 0 is no item"}),
        "items": json.dumps(ids),  # the item with number n is the n-th of these, from 1
    }
    with replaced_file(path) as partial:
        _write(module, partial, metadata)
        error = _error(recommender.model, module.max_events, partial)
        if not error <= _LIMIT:
            raise RecurraError(
                f"the ONNX file differs from the model by {error:.2g}, over {_LIMIT:g}: not written"
            )
    return ExportReport(path, error, path.stat().st_size, metadata)


class NextItemScores(nn.Module):
    """`NetworkScorer` on one batch: what asks for the next item is put behind each history."""

    def __init__(self, model: NextItemModel) -> None:
        super().__init__()
        self.model = model
        self.max_events = model.config.max_len - len(model.suffix)

    def forward(self, histories: Tensor) -> Tensor:
        """Score all items after histories (B, T) int64 that zeros fill up: (B, V + 1)."""
        lengths = (histories != 0).sum(dim=1, keepdim=True)
        items = functional.pad(histories, (0, len(self.model.suffix)))
        for place, item in enumerate(self.model.suffix):
            items = items.scatter(1, lengths + place, torch.full_like(lengths, item))
        at = lengths[:, 0] + len(self.model.suffix) - 1
        return self.model.score(items, at)


def _write(module: NextItemScores, path: Path, metadata: dict[str, str]) -> None:
    onnx = import_extra("onnx", extra="export", package="recurra-recsys")
    example = torch.ones(2, min(7, module.max_events), dtype=torch.int64)
    example[0, 3:] = 0  # with rows that are filled up, so that the graph has their mask
    shapes = ({0: torch.export.Dim("rows"), 1: torch.export.Dim("length", max=module.max_events)},)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            input_names=["histories"],
            output_names=["scores"],
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


def _error(model: NextItemModel, max_events: int, path: Path) -> float:
    """Compare with `NetworkScorer` on batches of other sizes, alone, full and filled up."""
    runtime: Any = import_extra("onnxruntime", extra="export", package="recurra-recsys")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    scorer, rng = NetworkScorer(model), np.random.default_rng(0)
    errors = []
    for rows, longest in ((1, 1), (1, max_events), (5, max_events), (9, max(1, max_events // 2))):
        lengths = rng.integers(1, longest + 1, rows)
        lengths[0] = longest
        histories = [rng.integers(1, model.config.n_items + 1, n) for n in lengths]
        padded = np.zeros((rows, longest), np.int64)
        for row, history in enumerate(histories):
            padded[row, : len(history)] = history
        (ours,) = session.run(None, {"histories": padded})
        expected = scorer.score(histories)
        errors.append(float(np.abs(ours - expected).max() / np.abs(expected).max()))
    return max(errors)
