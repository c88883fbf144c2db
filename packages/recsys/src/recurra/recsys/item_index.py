"""Where in a large catalogue the best items of a list are, without a look at all of them.

The table of items is cut into cells by k-means, and a list is looked for in the cells nearest to
what the network asks for (an inverted file: Jegou et al. 2011, "Product Quantization for Nearest
Neighbor Search", section IV). faiss does both. Its own files are not read, since their reader is
not made for files of strangers: what is stored is the centres and the cell of each item, as
safetensors, and the vectors are those of the model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import safetensors.numpy
import torch

from recurra.core.errors import CheckpointError, import_extra
from recurra.recsys.models import NextItemModel
from recurra.recsys.ranking import ItemList
from recurra.recsys.selection import Selection

INDEX = "index.safetensors"
LONGEST = 100  # a longer list reaches too far into cells that are not looked at
TRAINED_ON = 64  # items for each cell that k-means sees at most
SPARE = 4  # times k items are looked for where a rule will leave some out
_CHUNK = 1 << 16


class ItemIndex:
    """The items of a model in cells: centres float32 (n_cells, D), and cells int32 (V,)."""

    def __init__(
        self, model: NextItemModel, centres: np.ndarray, cells: np.ndarray, probes: int
    ) -> None:
        """Put a model's items into their cells; see `build` and `load`."""
        self.centres, self.cells = centres, cells
        faiss = _faiss()
        width = centres.shape[1]
        self._flat = faiss.IndexFlatIP(width)
        self._flat.add(centres)
        self._cells = faiss.IndexIVFFlat(
            self._flat, width, len(centres), faiss.METRIC_INNER_PRODUCT
        )
        vectors = item_vectors(model)
        for start in range(0, len(vectors), _CHUNK):
            part = np.ascontiguousarray(vectors[start : start + _CHUNK])
            numbers = np.arange(start + 1, start + 1 + len(part), dtype=np.int64)
            own = cells[start : start + _CHUNK].astype(np.int64)
            pointers = [faiss.swig_ptr(array) for array in (part, numbers, own)]
            self._cells.add_core(len(part), *pointers)
        self.probes = probes

    @property
    def probes(self) -> int:
        """Cells that a list is looked for in; more find more and take longer."""
        return int(self._cells.nprobe)

    @probes.setter
    def probes(self, count: int) -> None:
        """Look at so many cells."""
        self._cells.nprobe = count

    @classmethod
    def build(cls, model: NextItemModel, *, seed: int = 0) -> Self:
        """Find 4 sqrt(V) cells, the k-means of items, by inner products; `probes` is 1.

        Raises:
            MissingExtraError: faiss is not installed.
        """
        faiss = _faiss()
        vectors = item_vectors(model)
        count = min(len(vectors), round(4 * len(vectors) ** 0.5))
        rng = np.random.default_rng(seed)
        some = rng.permutation(len(vectors))[: TRAINED_ON * count]
        means = faiss.Clustering(vectors.shape[1], count)
        means.niter, means.seed, means.min_points_per_centroid = 10, seed, 1
        nearest = faiss.IndexFlatIP(vectors.shape[1])
        means.train(vectors[np.sort(some)], nearest)
        centres = faiss.vector_to_array(means.centroids).reshape(count, -1)
        cells = np.empty(len(vectors), np.int32)
        for start in range(0, len(vectors), _CHUNK):
            part = np.ascontiguousarray(vectors[start : start + _CHUNK])
            cells[start : start + len(part)] = nearest.search(part, 1)[1][:, 0]
        return cls(model, centres, cells, 1)

    @classmethod
    def load(cls, path: Path, model: NextItemModel) -> Self:
        """Read what `save` wrote; nothing in it is run.

        Raises:
            CheckpointError: the file is damaged or is not of this model.
            MissingExtraError: faiss is not installed.
        """
        _faiss()
        again = "make it again with `recurra-recsys index`"
        try:
            found = safetensors.numpy.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged ({error}): {again}") from error
        shapes = {name: (array.dtype.name, array.ndim) for name, array in found.items()}
        if shapes != {"centres": ("float32", 2), "cells": ("int32", 1), "probes": ("int64", 0)}:
            raise CheckpointError(f"{path} is no index of items: {again}")
        centres, cells, probes = found["centres"], found["cells"], int(found["probes"])
        n_items, width = model.config.n_items, item_vectors(model, 1).shape[1]
        fits = len(cells) == n_items and centres.shape[1] == width and len(centres) > 0
        if not (fits and cells.min() >= 0 and cells.max() < len(centres)):
            raise CheckpointError(f"{path} is the index of another model: {again}")
        if not (np.isfinite(centres).all() and 1 <= probes <= len(centres)):
            raise CheckpointError(f"{path} is damaged: {again}")
        return cls(model, centres, cells, probes)

    def save(self, path: Path) -> None:
        """Write the centres, the items' cells and how many cells are looked at, as safetensors."""
        parts = {"centres": self.centres, "cells": self.cells, "probes": np.array(self.probes)}
        safetensors.numpy.save_file(parts, path)

    def find(
        self, query: np.ndarray, k: int, seen: np.ndarray, selection: Selection
    ) -> ItemList | None:
        """The k best items that are looked at, in one list of the form that `top_k` gives.

        Args:
            query: float32 (C,), of `NetworkScorer.queries`.
            k: how many.
            seen: numbers of items that the list may not hold.
            selection: which others it may.

        Returns:
            None where fewer than k are found, or k is over `LONGEST`: all items have to be scored.
        """
        if k > LONGEST:
            return None
        seen = np.unique(seen)
        limited = selection.allowed is not None or selection.categories is not None
        wanted = min((SPARE * k if limited else k) + len(seen), len(self.cells))
        asked = np.ones((1, self.centres.shape[1]), np.float32)  # one for the bias, if there is one
        asked[0, : len(query)] = query
        scores, items = (found[0] for found in self._cells.search(asked, wanted))
        there = (items > 0) & ~np.isin(items, seen)
        items, scores = items[there], scores[there]
        order = np.lexsort((items, -scores))
        items, scores = items[order], scores[order]
        kept = np.flatnonzero(selection.keeps(items))[:k]
        return None if len(kept) < k else (items[kept], scores[kept])


def item_vectors(model: NextItemModel, count: int | None = None) -> np.ndarray:
    """Vectors of the first items, all if None, whose products with a query are scores.

    Returns:
        float32 (V, C), or (V, C + 1) with the output bias, which meets a one.
    """
    stop = 1 + (model.config.n_items if count is None else count)
    with torch.no_grad():
        table = model.output_table[1:stop]
        if model.output_bias is not None:
            table = torch.cat([table, model.output_bias[1:stop, None]], dim=1)
        return np.ascontiguousarray(table.cpu().numpy(), np.float32)


def recall(found: Sequence[ItemList], right: Sequence[ItemList]) -> float:
    """The share of the right lists' items that the found lists hold, a mean over lists."""
    shares = [
        len(np.intersect1d(ours[0], exact[0])) / len(exact[0])
        for ours, exact in zip(found, right, strict=True)
        if len(exact[0])
    ]
    return float(np.mean(shares))


def _faiss() -> Any:
    return import_extra("faiss", extra="faiss", package="recurra-recsys")
