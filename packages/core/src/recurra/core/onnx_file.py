"""ONNX files of networks: written without paths of this machine, and opened on one thread."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recurra.core.errors import import_extra


def require_onnx(package: str) -> None:
    """See that everything is there that writing and checking a file takes.

    Raises:
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed; `package[export]`
            brings them.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(module, extra="export", package=package)


def write_onnx(
    network: nn.Module,
    path: Path,
    example: tuple[Tensor, ...],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic_shapes: Any,
    metadata: Mapping[str, str],
    package: str,
) -> None:
    """Write a network as one ONNX file, in eval mode.

    Args:
        network: its forward takes tensors and gives a tensor or a tuple of them.
        path: of the file; one that is there is replaced.
        example: what forward is traced with.
        inputs, outputs: their names in the file.
        dynamic_shapes: which axes are free, as `torch.export.export` takes them.
        metadata: what the file says about itself.
        package: whose extra `export` brings what this needs.

    Raises:
        MissingExtraError: as `require_onnx`.
    """
    onnx: Any = import_extra("onnx", extra="export", package=package)
    with _quiet(), torch.no_grad():
        program: Any = torch.onnx.export(
            network.eval(),
            example,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dynamic_shapes,
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


def open_onnx(path: Path, *, package: str) -> Any:
    """Open a file as an `onnxruntime.InferenceSession` on one thread of the CPU.

    Raises:
        MissingExtraError: as `require_onnx`.
    """
    runtime: Any = import_extra("onnxruntime", extra="export", package=package)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from talking about its own workings and about torchvision."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
