"""Training a separator from its example config on a made corpus, to a model that separates."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.speech.two_voices import write_corpus

from recurra.core.cli import load_config, run
from recurra.speech.cli import app
from recurra.speech.models.mossformer2_ss import MOSSFORMER2_SMALL, MossFormer2Ss
from recurra.speech.separator import Separator
from recurra.speech.train_separation import SeparationTrainConfig

EXAMPLE = Path(__file__).parents[2] / "examples" / "train-mossformer2-small.yaml"


def test_the_example_trains_the_preset_of_at_most_two_million_parameters():
    assert load_config(SeparationTrainConfig, EXAMPLE).model == MOSSFORMER2_SMALL
    parameters = sum(p.numel() for p in MossFormer2Ss(MOSSFORMER2_SMALL).parameters())
    assert 1_000_000 < parameters <= 2_000_000


def test_a_trained_run_separates(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "sounds", ("train", "validation"))
    changes = [
        "model.n_filters=16",
        "model.win_length=8",
        "model.hop_length=4",
        "model.stack.n_blocks=1",
        "model.stack.d_model=8",
        "model.stack.d_inner=8",
        "model.stack.d_key=8",
        "data.seconds=0.3",
        "validation_clips=1",
        "validation_seconds=0.3",
        "fit.max_steps=1",
        "fit.validate_every=1",
    ]
    arguments = ["train", str(EXAMPLE), *changes, "--corpus", "sounds", "--run", "runs/tiny"]
    assert run(app, "recurra-speech", arguments) == 0
    assert "runs/tiny/best" in capsys.readouterr().out
    apart = Separator.from_pretrained("runs/tiny/best")(np.zeros(1000, np.float32), 16000)
    assert apart.shape == (2, 1000)
    capsys.readouterr()
    assert run(app, "recurra-speech", [*arguments, "data.seconds=0.4"]) == 2
    assert "data.seconds was 0.3, now 0.4" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "sounds")
    write_corpus(tmp_path / "sounds", ("train", "test", "validation"))
    assert run(app, "recurra-speech", arguments) == 2
    assert "corpus was" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [("data.n_speakers=3", "model.n_speakers is 2 and data.n_speakers 3"), ("tsk=x", "task")],
)
def test_a_config_that_does_not_fit_is_one_line(tmp_path, capsys, change, message):
    code = run(app, "recurra-speech", ["train", str(EXAMPLE), change, "--corpus", str(tmp_path)])
    assert code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
