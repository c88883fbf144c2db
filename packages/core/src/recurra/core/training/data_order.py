"""The order in which a run sees its data, as a function of the seed and the step alone.

The whole run is one endless stream: a permutation of the data for epoch 0, then one for epoch 1,
and so on, without a gap. A batch is a slice of that stream, so nothing has to be remembered to
resume, and how the slice is shared out among processes or accumulated passes does not change what
is in it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """What a dataset is asked for: the item, and the epoch that varies its randomness.

    A dataset takes all the randomness of an item from its own seed and this pair (`generator`),
    never from a generator that lives on between items.
    """

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which no draw needs

    def generator(self, seed: int) -> np.random.Generator:
        """The randomness of this item, the same wherever and whenever it is drawn."""
        return np.random.default_rng((seed, self.epoch, self.index))


class DataOrder(Sampler[list[Draw]]):
    """An endless batch sampler.

    Batch `k` of the run is the `batch_size * world_size` places of the stream from
    `k * batch_size * world_size` on; each rank takes its own `batch_size` of them. Each item comes
    once in an epoch; a batch may reach over the end of one.

    Args:
        size: items in the dataset.
        batch_size: items a rank takes at a time.
        seed: of the permutations.
        start_step: the batch to begin with.
        rank: of this process.
        world_size: processes.

    Raises:
        ValueError: a size below 1, or a rank outside the world.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if size < 1 or batch_size < 1:
            raise ValueError(f"size is {size} and batch_size {batch_size}; both must be at least 1")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}; it must be from 0 to {world_size - 1}")
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.start_step = start_step
        self.rank = rank
        self.world_size = world_size

    def permutation(self, epoch: int) -> np.ndarray:
        """The order of the items in `epoch`: int64 (size,)."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.size)

    def __iter__(self) -> Iterator[list[Draw]]:
        """Batches from `start_step` on, without end."""
        place = (self.start_step * self.world_size + self.rank) * self.batch_size
        epoch, order = -1, np.empty(0, dtype=np.int64)
        while True:
            batch = []
            for at in range(place, place + self.batch_size):
                if at // self.size != epoch:
                    epoch = at // self.size
                    order = self.permutation(epoch)
                batch.append(Draw(epoch, int(order[at % self.size])))
            yield batch
            place += self.batch_size * self.world_size
