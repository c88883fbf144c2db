"""What an ONNX file of a network computes: whole histories scored, or one event and a state."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.recsys.models import NextItemModel
from recurra.recsys.neural import NetworkScorer

_SCORES = "(rows, V + 1) float32 logits, column 0 is no item"


class WholeHistories(nn.Module):
    """`NetworkScorer` on one batch: what asks for the next item is put behind each history."""

    inputs: Sequence[str] = ("histories",)
    outputs: Sequence[str] = ("scores",)

    def __init__(self, model: NextItemModel) -> None:
        super().__init__()
        self.model = model
        self.max_events = model.config.max_len - len(model.suffix)

    def forward(self, histories: Tensor) -> Tensor:
        """Score all items after histories (B, T) int64 that zeros fill up: (B, V + 1)."""
        lengths = (histories != 0).sum(dim=1, keepdim=True)
        items = functional.pad(histories, (0, len(self.model.suffix)))
        for place, item in enumerate(self.model.suffix):
            items = items.scatter(1, lengths + place, torch.full_like(lengths, item))
        at = lengths[:, 0] + len(self.model.suffix) - 1
        return self.model.score(items, at)

    def example(self) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Inputs to trace with, and which of their axes are free."""
        histories = torch.ones(2, min(7, self.max_events), dtype=torch.int64)
        histories[0, 3:] = 0  # with rows that are filled up, so that the graph has their mask
        length = torch.export.Dim("length", max=self.max_events)
        return (histories,), ({0: torch.export.Dim("rows"), 1: length},)

    def metadata(self) -> dict[str, str]:
        """What the file says about its inputs and outputs."""
        filled_up = "(rows, length) int64 item numbers, 0 fills up behind"
        return {
            "max_events": str(self.max_events),
            "inputs": json.dumps({"histories": filled_up}),
            "outputs": json.dumps({"scores": _SCORES}),
        }

    def error(self, session: Any) -> float:
        """Compare with `NetworkScorer` on batches of other sizes, alone, full and filled up.

        Returns:
            The largest difference, as a share of the largest score.
        """
        scorer, rng, most = NetworkScorer(self.model), np.random.default_rng(0), self.max_events
        errors = []
        for rows, longest in ((1, 1), (1, most), (5, most), (9, max(1, most // 2))):
            lengths = rng.integers(1, longest + 1, rows)
            lengths[0] = longest
            histories = [rng.integers(1, self.model.config.n_items + 1, n) for n in lengths]
            padded = np.zeros((rows, longest), np.int64)
            for row, history in zip(padded, histories, strict=True):
                row[: len(history)] = history
            (ours,) = session.run(None, {"histories": padded})
            expected = scorer.score(histories)
            errors.append(float(np.abs(ours - expected).max() / np.abs(expected).max()))
        return max(errors)


class OneEvent(nn.Module):
    """`NextItemModel.read` on one event of each row, and the scores of what comes behind it."""

    def __init__(self, model: NextItemModel) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            _, self.first = model.read(torch.zeros(1, 1, dtype=torch.int64))
        self.inputs = ("item", *self.first)
        self.outputs = ("scores", *(f"next.{name}" for name in self.first))

    def forward(self, item: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Take item (B,) int64, zeros where nothing came, and the parts of the state.

        Returns:
            scores (B, V + 1), then the parts of the next state.
        """
        before = dict(zip(self.first, state, strict=True))
        _, after = self.model.read(item[:, None], before)
        return self.model.score_next(after), *(after[name] for name in self.first)

    def example(self) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Inputs to trace with, and which of their axes are free."""
        free = {0: torch.export.Dim("rows")}
        state = [value.expand(2, *value.shape[1:]).clone() for value in self.first.values()]
        return (torch.tensor([1, 0]), *state), (free, tuple(free for _ in state))

    def metadata(self) -> dict[str, str]:
        """What the file says about its inputs and outputs."""
        parts = {
            name: f"({', '.join(map(str, ('rows', *value.shape[1:])))}) {value.dtype}"
            for name, value in self.first.items()
        }
        parts = {name: text.replace("torch.", "") for name, text in parts.items()}
        item = "(rows,) int64 item numbers, 0 is no event"
        return {
            "inputs": json.dumps({"item": item, **parts}),
            "outputs": json.dumps(
                {"scores": _SCORES, **{f"next.{k}": v for k, v in parts.items()}}
            ),
        }

    def error(self, session: Any) -> float:
        """Compare with whole histories in torch, event by event, where some rows have fewer.

        Returns:
            The largest difference, as a share of the largest score.
        """
        rng, n_items, errors = np.random.default_rng(0), self.model.config.n_items, []
        for rows, events in ((1, 1), (3, 12)):
            items = rng.integers(1, n_items + 1, (rows, events))
            items[1:, events // 2 :] = 0
            state = [np.zeros((rows, *v.shape[1:]), v.numpy().dtype) for v in self.first.values()]
            for event in range(events):
                given = [items[:, event], *state]
                ours, *state = session.run(None, dict(zip(self.inputs, given, strict=True)))
                with torch.no_grad():
                    _, whole = self.model.read(torch.from_numpy(items[:, : event + 1]))
                    expected = self.model.score_next(whole).numpy()
                errors.append(float(np.abs(ours - expected).max() / np.abs(expected).max()))
        return max(errors)
