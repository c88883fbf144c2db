"""The demo with an oracle, which knows the voices, and with a tiny network of random weights."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.speech.test_separate_files import TINY

import separate_two_voices as demo
from recurra.speech.audio import read_audio
from recurra.speech.models.mossformer2_ss import MossFormer2Ss
from recurra.speech.separator import Separator


@pytest.fixture
def random_model(tmp_path):
    torch.manual_seed(0)
    MossFormer2Ss(TINY).save_pretrained(tmp_path / "tiny-random-weights")
    return str(tmp_path / "tiny-random-weights")


def run(monkeypatch, model, picture):
    words = ["separate_two_voices.py", "--model", model, "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", words)
    demo.main()


def improvements(text):
    lines = re.findall(r"^ *(?:English|French) .*$", text, re.M)
    return [float(line.split()[-1]) for line in lines]


def test_an_oracle_that_leaves_a_tenth_gains_twenty_db_in_any_order(monkeypatch, tmp_path, capsys):
    voices = [read_audio(demo.EXAMPLES / name)[0][0] for name in demo.VOICES.values()]
    voices = [0.05 * voice / np.sqrt(np.mean(voice**2)) for voice in voices]

    def oracle(self, mixture, rate):
        assert rate == 16000
        assert np.allclose(mixture, voices[0] + voices[1], atol=1e-6)
        return np.stack([voices[1] + 0.1 * voices[0], voices[0] + 0.1 * voices[1]])

    tiny = Separator(MossFormer2Ss(TINY))
    monkeypatch.setattr(Separator, "__call__", oracle)
    monkeypatch.setattr(Separator, "from_pretrained", lambda model, speakers: tiny)
    run(monkeypatch, "oracle", tmp_path / "picture.png")
    gained = improvements(capsys.readouterr().out)
    assert gained == pytest.approx([20, 20], abs=0.3)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_random_weights_run_from_end_to_end(random_model, monkeypatch, tmp_path, capsys):
    run(monkeypatch, random_model, tmp_path / "picture.png")
    assert len(improvements(capsys.readouterr().out)) == 2
    assert (tmp_path / "picture.png").is_file()


def test_a_model_that_does_not_separate_is_one_line(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "frcrn-small", tmp_path / "picture.png")
    assert "to take voices apart" in capsys.readouterr().err.splitlines()[-1]


def test_the_demo_stays_short():
    assert len(Path(demo.__file__).read_text().splitlines()) < 80
