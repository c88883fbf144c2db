"""A small task with every source of randomness: dropout, random items, a batch norm."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from recurra.core.training import Draw, FitConfig, Task

WIDTH = 6


class Net(nn.Module):
    """A regression with dropout, a batch norm, an integer buffer and a mask of infinities."""

    def __init__(self, dropout: float, norm: bool) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, 8)
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(8, 1)
        self.register_buffer("places", torch.arange(20))
        self.register_buffer("mask", torch.full((2,), -torch.inf))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.dropout(torch.relu(self.norm(self.first(x)))))

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model": "net"}))
        with open(folder / "weights.pt", "wb") as file:
            torch.save(self.state_dict(), file)


class Data(Dataset):
    """Items made from (seed, epoch, index) alone."""

    def __init__(self, size: int = 37, poison: int | None = None) -> None:
        self.size, self.poison = size, poison
        self.seen: list[Draw] = []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        self.seen.append(draw)
        generator = np.random.default_rng((5, draw.epoch, draw.index))
        x = torch.from_numpy(generator.standard_normal(WIDTH).astype(np.float32))
        y = x.sum(0, keepdim=True) / 2
        if draw.index == self.poison:
            y = y * torch.nan
        return {"x": x, "y": y}


class Regression(Task):
    """Mean squared error; validation on fixed data."""

    higher_is_better = False

    def __init__(self, dropout: float = 0.3, norm: bool = True, poison: int | None = None) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.model = Net(dropout, norm)
        self.training_data = Data(poison=poison)
        self.validations: list[dict[str, float]] = []

    def training_step(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        error = model(batch["x"]) - batch["y"]
        return {"loss": error.square().mean(), "bias": error.mean()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        x = torch.linspace(-1, 1, 10 * WIDTH).reshape(10, WIDTH)
        error = (model(x) - x.sum(1, keepdim=True) / 2).square().mean()
        self.validations.append({"mse": float(error.detach())})
        return self.validations[-1]


SMALL = {
    "seed": 3,
    "max_steps": 12,
    "batch_size": 4,
    "learning_rate": 0.01,
    "warmup_steps": 2,
    "log_every": 2,
    "checkpoint_every": 5,
    "validate_every": 4,
    "threads": 1,
}


@pytest.fixture
def config():
    """Makes a small config with changes."""

    def make(**changes) -> FitConfig:
        return FitConfig(**{**SMALL, **changes})

    return make


@pytest.fixture
def regression() -> type[Regression]:
    """The task, to be made afresh for each run."""
    return Regression
