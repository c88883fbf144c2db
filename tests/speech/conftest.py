"""Tiny networks that commands can load."""

from dataclasses import replace

import pytest
import torch

from recurra.speech.models.frcrn import Frcrn, FrcrnConfig

TINY = FrcrnConfig(channels=(2,) * 7, order=3, compression=0.5, level_db=None)


def saved(config, folder):
    torch.manual_seed(0)
    Frcrn(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Save a tiny network for whole recordings; return its folder."""
    return saved(TINY, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def causal_model(tmp_path_factory):
    """Save a tiny network that runs live; return its folder."""
    causal = replace(TINY, causal=True, n_unets=1)
    return saved(causal, tmp_path_factory.mktemp("models") / "tiny-live")
