"""Writing an ONNX file says nothing of the exporter's own workings."""

import logging

import pytest

from recurra.core.onnx_file import _quiet


@pytest.mark.parametrize("name", ["torch.onnx", "onnxscript.optimizer._constant_folding"])
def test_the_exporter_keeps_silent_while_it_works_and_only_then(caplog, name):
    logger = logging.getLogger(name)
    with _quiet():
        logger.warning("Skipping constant folding for node")
        logger.error("cannot be exported")
    logger.warning("after")
    assert caplog.messages == ["cannot be exported", "after"]
