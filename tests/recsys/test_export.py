import sys

import numpy as np
import pytest
import torch

from recurra.core.errors import MissingExtraError, RecurraError
from recurra.recsys import Recommender
from recurra.recsys.export import export_onnx
from recurra.recsys.models import Bert4Rec, Bert4RecConfig, SasRec, SasRecConfig
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.onnx_forms import WholeHistories

SIZES = {"n_items": 5, "max_len": 6, "d_model": 8}
MODELS = {
    "bert4rec": lambda: Bert4Rec(Bert4RecConfig(**SIZES)),
    "sasrec": lambda: SasRec(SasRecConfig(**SIZES)),
}


@pytest.fixture(params=MODELS)
def built(request, log, tmp_path):
    torch.manual_seed(0)
    model = MODELS[request.param]().eval()
    Recommender(model, log).save(tmp_path / "model")
    return model


@torch.no_grad()
def test_the_form_that_is_exported_scores_as_the_scorer_does(built):
    module = WholeHistories(built)
    histories = [1 + np.arange(n) % 5 for n in (1, 3, module.max_events)]
    padded = np.zeros((3, module.max_events), np.int64)
    for row, history in zip(padded, histories, strict=True):
        row[: len(history)] = history
    ours = module(torch.from_numpy(padded)).numpy()
    np.testing.assert_allclose(ours, NetworkScorer(built).score(histories), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_model_runs_in_onnxruntime_for_any_rows_and_lengths(built, tmp_path):
    import json

    import onnxruntime

    report = export_onnx(tmp_path / "model", tmp_path / "model.onnx")
    assert report.max_error < 1e-5
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    scorer = NetworkScorer(built)
    for rows, length in ((1, 1), (3, 2), (7, 5)):
        histories = 1 + np.arange(rows * length).reshape(rows, length) % 5
        (ours,) = session.run(["scores"], {"histories": histories})
        np.testing.assert_allclose(ours, scorer.score(list(histories)), rtol=0, atol=1e-5)
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["items"]) == ["pot", "tea", "cup", "mug", "jug"]
    assert (said["kind"], said["model"]) == (built.kind, "model")
    assert str(tmp_path).encode() not in report.path.read_bytes()
    assert b"/site-packages/" not in report.path.read_bytes()


@pytest.mark.slow
def test_a_file_that_differs_is_not_written(built, tmp_path, monkeypatch):
    monkeypatch.setattr(WholeHistories, "error", lambda *arguments: 0.01)
    with pytest.raises(RecurraError, match=r"differs from the model by 0\.01"):
        export_onnx(tmp_path / "model", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"recurra-recsys\[export\]"):
        export_onnx(tmp_path / "model", tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        {"encoder": "prefix-attention"},
        {"encoder": "mamba2", "layer": "ligr"},
        {"encoder": "prefix-attention", "ngrams": (1, 2)},
    ],
    ids=str,
)
def test_a_network_that_streams_becomes_a_step_with_its_state(log, tmp_path, variant):
    import json

    import onnxruntime

    torch.manual_seed(0)
    model = SasRec(SasRecConfig(**SIZES, positions="none", **variant)).eval()
    Recommender(model, log).save(tmp_path / "model")
    report = export_onnx(tmp_path / "model", tmp_path / "model.onnx")
    assert report.max_error < 1e-5
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    parts = session.get_inputs()[1:]
    state = [np.zeros((4, *part.shape[1:]), types[part.type]) for part in parts]
    items = np.array([[3, 1, 4, 1, 5], [2, 2, 0, 0, 0], [0, 5, 0, 5, 0], [1, 0, 0, 0, 0]])
    names = [part.name for part in session.get_inputs()]
    for column in items.T:
        scores, *state = session.run(None, dict(zip(names, [column, *state], strict=True)))
    histories = [row[row > 0] for row in items]
    np.testing.assert_allclose(scores, NetworkScorer(model).score(histories), rtol=0, atol=1e-5)
    said = session.get_modelmeta().custom_metadata_map
    assert list(json.loads(said["inputs"])) == names
