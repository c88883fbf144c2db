"""A trained network as a scorer of histories."""

from collections.abc import Sequence

import numpy as np
import torch

from recurra.recsys.models.bert4rec import Bert4Rec

# Rows of a batch and their lengths take these sizes only, so that a history's scores are the same
# to the bit alone, in a batch and in a server: matrix products round by shape. Eight rows cost a
# lone one twice its time, and a full batch a quarter more than 64 rows at once would.
ROWS = 8
LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024)


class Bert4RecScorer:
    """Score what comes next: a history's last events, then a mask."""

    name = "bert4rec"

    def __init__(self, model: Bert4Rec) -> None:
        self.model = model.eval()

    @torch.inference_mode()
    def score(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items for each of B histories: float32 (B, V + 1), column 0 is no item."""
        max_len = self.model.config.max_len
        scores = np.empty((len(histories), self.model.config.n_items + 1), np.float32)
        recent = [history[-(max_len - 1) :] for history in histories]
        padded = np.array([_padded_length(len(history) + 1, max_len) for history in recent])
        for length in np.unique(padded):
            places = np.flatnonzero(padded == length)
            for start in range(0, len(places), ROWS):
                rows = places[start : start + ROWS]
                found = self._score_rows([recent[row] for row in rows], int(length))
                scores[rows] = found[: len(rows)]
        return scores

    def _score_rows(self, histories: Sequence[np.ndarray], length: int) -> np.ndarray:
        items = np.zeros((ROWS, length), np.int64)
        at = np.zeros(ROWS, np.int64)
        items[:, 0] = self.model.mask_id  # rows that are not asked for
        for row, history in enumerate(histories):
            items[row, : len(history)] = history
            items[row, len(history)] = self.model.mask_id
            at[row] = len(history)
        return self.model.score(torch.from_numpy(items), torch.from_numpy(at)).numpy()


def _padded_length(length: int, max_len: int) -> int:
    return min(next(size for size in (*LENGTHS, max_len) if size >= length), max_len)
