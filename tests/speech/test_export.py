import json
import sys

import numpy as np
import pytest
import torch

from recurra.core.errors import MissingExtraError, RecurraError
from recurra.speech.enhancer import Enhancer
from recurra.speech.export import LiveStep, WholeClip, export_onnx
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig
from recurra.speech.stream import FrameStream

SIZES = {"win_length": 64, "hop_length": 32, "channels": (4, 8), "order": 5, "n_unets": 1}
CARD = "---\nlicense: apache-2.0\n---\n"


def build(**fields):
    torch.manual_seed(0)
    return Frcrn(FrcrnConfig(**SIZES | fields)).eval()


def noise(rows, n):
    return np.random.default_rng(0).normal(0, 0.1, (rows, n)).astype(np.float32)


@pytest.mark.parametrize(
    "fields",
    [
        {"compression": 0.5, "level_db": None, "n_unets": 2},
        {"level_db": -25.0},
        {"win_length": 96, "level_db": None},  # windows that overlap by two thirds
    ],
)
@pytest.mark.parametrize("n", [1, 32, 75, 640])
@torch.no_grad()
def test_the_offline_form_is_what_enhance_does_to_a_window(fields, n):
    model = build(**fields)
    audio = noise(2, n) if n > 1 else noise(1, 1)
    ours = WholeClip(model.eval())(torch.from_numpy(audio)).numpy()
    np.testing.assert_allclose(ours, Enhancer(model)(audio, 16000), rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_live_form_is_the_stream_with_its_state_outside():
    model = build(causal=True, compression=0.5, level_db=None)
    step, audio = LiveStep(model), noise(2, 320)
    state, pieces = torch.zeros(2, sum(step.sizes)), []
    for hop in torch.from_numpy(audio).split(32, dim=1):
        enhanced, state = step(hop, state)
        pieces.append(enhanced)
    expected = FrameStream(model, 2).push(audio)
    np.testing.assert_allclose(torch.cat(pieces, 1)[:, 32:].numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_an_offline_model_runs_in_onnxruntime_at_any_length(tmp_path):
    import onnxruntime

    model = build(level_db=-25.0)
    model.save_pretrained(tmp_path / "small", card=CARD)
    report = export_onnx(tmp_path / "small", tmp_path / "small.onnx")
    assert report.form == "offline"
    assert report.max_error < 1e-5
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    enhancer = Enhancer(model)
    for rows, n in ((1, 2), (2, 33), (3, 1000)):
        (ours,) = session.run(["enhanced"], {"audio": noise(rows, n)})
        np.testing.assert_allclose(ours, enhancer(noise(rows, n), 16000), rtol=0, atol=1e-6)
    said = session.get_modelmeta().custom_metadata_map
    assert (said["model"], said["sample_rate"], said["licence"]) == ("small", "16000", "apache-2.0")
    assert str(tmp_path).encode() not in report.path.read_bytes()
    assert b"/site-packages/" not in report.path.read_bytes()


@pytest.mark.slow
def test_a_live_model_runs_in_onnxruntime_hop_by_hop(tmp_path):
    import onnxruntime

    model = build(causal=True, compression=0.5, level_db=None)
    model.save_pretrained(tmp_path / "live")
    report = export_onnx(tmp_path / "live", tmp_path / "live.onnx")
    assert report.form == "live"
    assert report.max_error < 1e-5
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["inputs"]).keys() == {i.name for i in session.get_inputs()}
    assert json.loads(said["outputs"]).keys() == {o.name for o in session.get_outputs()}
    hop, delay = int(said["hop"]), int(said["delay_samples"])
    state = np.zeros((1, session.get_inputs()[1].shape[1]), np.float32)
    audio, pieces = noise(1, 20 * hop), []
    for start in range(0, audio.shape[1], hop):
        feed = {"samples": audio[:, start : start + hop], "state": state}
        enhanced, state = session.run(None, feed)
        pieces.append(enhanced)
    expected = Enhancer(model)(audio, 16000)[:, :-delay]
    np.testing.assert_allclose(np.concatenate(pieces, 1)[:, delay:], expected, rtol=0, atol=1e-6)


def test_a_file_that_differs_from_the_model_is_not_left(tmp_path, monkeypatch):
    build().save_pretrained(tmp_path / "m")
    monkeypatch.setattr("recurra.speech.export._write", lambda model, path, said: path.touch())
    monkeypatch.setattr("recurra.speech.export._offline_error", lambda model, path: float("nan"))
    with pytest.raises(RecurraError, match="differs from the model by nan"):
        export_onnx(tmp_path / "m", tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_folder_that_is_missing_is_told_before_any_work(tmp_path, monkeypatch):
    build().save_pretrained(tmp_path / "m")
    monkeypatch.setattr("recurra.speech.export._write", lambda *_: pytest.fail("it worked"))
    with pytest.raises(RecurraError, match=r"the folder .*none does not exist"):
        export_onnx(tmp_path / "m", tmp_path / "none" / "m.onnx")


def test_a_missing_library_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"recurra-speech\[export\]"):
        export_onnx(tmp_path, tmp_path / "m.onnx")
