"""Cleaning never touches the level: no gain around the model, and silence stays silence.

The law is that clean speech changes by at most 0.5 dB. Around the network it holds exactly, and is
tested with a network that keeps everything; the shipped weights have learnt to keep it.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.speech.shipped import shipped

from recurra.speech.audio import read_audio
from recurra.speech.data.speech_level import active_level_db
from recurra.speech.enhancer import Enhancer
from recurra.speech.models.frcrn import FRCRN_SMALL, Frcrn

CLEAN = Path(__file__).resolve().parents[2] / "examples" / "clean.wav"
RATE = 16000
LEVELS_DB = [-40, -26, -12, -3]
LAW_DB = 0.5
SHIPPED = list(shipped(Frcrn.kind))


@pytest.fixture(scope="module")
def speech():
    """Three seconds of clean speech, at -26 dB active level."""
    audio = read_audio(CLEAN)[0][0, : 3 * RATE]
    return audio * np.float32(10 ** ((-26 - active_level_db(audio)) / 20))


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request):
    return Enhancer.from_pretrained(request.param)


@pytest.fixture(scope="module")
def keeps_everything():
    """Two U-Nets with a mask of one: their last layers say tanh(u) = 1/2 each."""
    torch.manual_seed(0)
    model = Frcrn(replace(FRCRN_SMALL, n_unets=2))
    half = float(np.arctanh(0.5))
    with torch.no_grad():
        for unet in model.unets:
            # Output: bias re - im on the real part, re + im on the imaginary one, weights zero.
            unet.output_re.copy_(torch.tensor([0.0, half / 2]))
            unet.output_im.copy_(torch.tensor([0.0, -half / 2]))
    return Enhancer(model)


def changes_db(enhancer, speech):
    """How the active level changes at each of LEVELS_DB; at -3 dB peaks are over full scale."""
    changes = []
    for level in LEVELS_DB:
        x = speech * np.float32(10 ** ((level + 26) / 20))
        changes.append(active_level_db(enhancer(x, RATE)) - active_level_db(x))
    return np.array(changes)


def test_no_gain_is_applied_around_the_network(keeps_everything, speech):
    assert np.abs(changes_db(keeps_everything, speech)).max() < 0.001


def test_shipped_models_give_clean_speech_back_as_loud_as_it_was(shipped, speech):
    assert np.abs(changes_db(shipped, speech)).max() <= LAW_DB


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (48000, 2), (44100, 1)])
def test_shipped_models_give_exact_silence_for_silence(shipped, rate, channels):
    assert not shipped(np.zeros((channels, rate), np.float32), rate).any()
