"""Training from a config file on a made corpus, from the command line to a model that cleans."""

import json
from pathlib import Path

import numpy as np
import pytest

from recurra.core.cli import load_config, run
from recurra.speech.cli import app
from recurra.speech.enhancer import Enhancer
from recurra.speech.models.frcrn import FRCRN_SMALL
from recurra.speech.train import TrainConfig

EXAMPLE = Path(__file__).parents[2] / "examples" / "train-frcrn-small.yaml"


@pytest.fixture
def corpus(tmp_path):
    """Write a corpus of one package of speech and one of noise a split, as `data fetch` lays it."""
    clips = tmp_path / "sounds" / "clips"
    clips.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        for role, label in (("speech", "voice"), ("noise", "machine")):
            name = f"{split}-{role}"
            samples = (3000 * rng.standard_normal(48000)).astype(np.int16)
            np.save(clips / f"{name}.npy", samples)
            clip = {
                "path": "a.wav",
                "package": name,
                "role": role,
                "label": f"{label}-{split}",
                "split": split,
                "start": 0,
                "length": 48000,
                "level_db": -20.0,
            }
            index = {"key": "made", "clips": [clip], "left_out": {}}
            (clips / f"{name}.json").write_text(json.dumps(index))
    return tmp_path / "sounds"


def test_the_example_config_is_the_shipped_network():
    assert load_config(TrainConfig, EXAMPLE).model == FRCRN_SMALL


def test_a_trained_run_cleans(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "train",
        str(EXAMPLE),
        "model.channels=[2,2,2,2,2,2,2]",
        "data.seconds=0.5",
        "validation_clips=2",
        "validation_seconds=0.5",
        "fit.max_steps=2",
        "fit.validate_every=1",
    ]
    code = run(app, "recurra-speech", [*arguments, "--corpus", str(corpus), "--run", "runs/tiny"])
    assert code == 0
    assert "runs/tiny/best" in capsys.readouterr().out
    cleaned = Enhancer.from_pretrained("runs/tiny/best")(np.zeros(1000, np.float32), 16000)
    assert cleaned.shape == (1000,)


def test_a_budget_ends_the_run_and_what_is_there_is_told(corpus, tmp_path, monkeypatch, capsys):
    arguments = [
        "train",
        str(EXAMPLE),
        "model.channels=[2,2,2,2,2,2,2]",
        "data.seconds=0.5",
        "validation_clips=1",
        "validation_seconds=0.5",
        "fit.validate_every=null",
    ]
    places = ["--corpus", str(corpus), "--run", str(tmp_path / "run")]
    assert run(app, "recurra-speech", [*arguments, *places, "--budget", "0.01s"]) == 0
    out, err = capsys.readouterr()
    assert out == f"wrote {tmp_path / 'run' / 'last'}\n"  # without validations none is the best
    assert "minutes are over: step 1 is saved" in err


def test_a_corpus_that_is_not_there_is_one_line(tmp_path, capsys):
    code = run(app, "recurra-speech", ["train", str(EXAMPLE), "--corpus", str(tmp_path / "none")])
    assert code == 2
    assert "data fetch" in capsys.readouterr().err
