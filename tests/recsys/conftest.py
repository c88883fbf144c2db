import polars as pl
import pytest
import torch

from recurra.recsys.data import Interactions
from recurra.recsys.models import Bert4Rec, Bert4RecConfig, SasRec, SasRecConfig


@pytest.fixture
def log():
    """Three users with text ids, five items; the most frequent first: pot tea cup mug jug."""
    rows = {"ann": "pot tea cup", "bob": "pot tea cup pot mug", "cyd": "jug"}
    pairs = [(user, item) for user, items in rows.items() for item in items.split()]
    return Interactions.from_frame(pl.DataFrame(pairs, schema=["user", "item"], orient="row"))


@pytest.fixture
def model():
    """A random network for five items."""
    torch.manual_seed(0)
    return Bert4Rec(Bert4RecConfig(n_items=5, max_len=6, d_model=8)).eval()


@pytest.fixture
def streaming_model():
    """A random network for five items that reads a history as it grows."""
    torch.manual_seed(0)
    streams = {"encoder": "mamba2", "positions": "none"}
    return SasRec(SasRecConfig(n_items=5, max_len=8, d_model=8, **streams)).eval()
