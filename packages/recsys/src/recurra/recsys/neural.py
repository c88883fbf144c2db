"""A trained network as a scorer of histories."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from recurra.recsys.models import NextItemModel

# Rows of a batch and their lengths take these sizes only, so that a history's scores are the same
# to the bit alone, in a batch and in a server: matrix products round by shape. Eight rows cost a
# lone one twice its time, and a full batch a quarter more than 64 rows at once would.
ROWS = 8
LENGTHS = (8, 16, 24, 32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768, 1024)


class NetworkScorer:
    """Score what comes next: a history's last events, and a mask where the network asks by one.

    A history without events, which a network without a mask has nothing to say about, gets the same
    score for every item.
    """

    def __init__(self, model: NextItemModel, name: str | None = None) -> None:
        """Take a model, and what a table calls it, such as the name of its recipe."""
        self.model = model.eval()
        self.name = name or model.kind

    def score(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items for each of B histories: float32 (B, V + 1), column 0 is no item."""
        return self._read(self.model.score, histories, self.model.config.n_items + 1)

    def queries(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """What meets the item table after each of B histories: float32 (B, C)."""
        return self._read(self.model.query, histories, self.model.config.d_model)

    @torch.inference_mode()
    def _read(
        self,
        network: Callable[[Tensor, Tensor], Tensor],
        histories: Sequence[np.ndarray],
        width: int,
    ) -> np.ndarray:
        """Run the network on each history: float32 (B, width), zeros where it is not asked."""
        max_len, suffix = self.model.config.max_len, self.model.suffix
        found = np.zeros((len(histories), width), np.float32)
        recent = [history[-(max_len - len(suffix)) :] for history in histories]
        asked = [np.concatenate([history, suffix]).astype(np.int64) for history in recent]
        padded = np.array([_padded_length(len(row), max_len) for row in asked])
        for length in np.unique(padded[padded > 0]):
            places = np.flatnonzero(padded == length)
            for start in range(0, len(places), ROWS):
                rows = places[start : start + ROWS]
                values = self._read_rows(network, [asked[row] for row in rows], int(length))
                found[rows] = values[: len(rows)]
        return found

    def _read_rows(
        self,
        network: Callable[[Tensor, Tensor], Tensor],
        asked: Sequence[np.ndarray],
        length: int,
    ) -> np.ndarray:
        items = np.zeros((ROWS, length), np.int64)
        at = np.zeros(ROWS, np.int64)
        items[:, 0] = 1  # rows that are not asked for
        for row, history in enumerate(asked):
            items[row, : len(history)] = history
            at[row] = len(history) - 1
        device = self.model.item_embedding.weight.device
        values = network(torch.from_numpy(items).to(device), torch.from_numpy(at).to(device))
        return values.cpu().numpy()


def _padded_length(length: int, max_len: int) -> int:
    if length == 0:
        return 0
    return min(next(size for size in (*LENGTHS, max_len) if size >= length), max_len)
