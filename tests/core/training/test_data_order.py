"""The order of data is a function of the seed and the step."""

from collections.abc import Iterable
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.core.training import DataOrder, Draw

sizes = st.integers(1, 40)
small = st.integers(1, 7)
seeds = st.integers(0, 2**31)
steps = st.integers(0, 30)


def take(count: int, *args: int, **kwargs: int) -> list[list[Draw]]:
    """The first `count` batches."""
    return list(islice(DataOrder(*args, **kwargs), count))


def join(batches: Iterable[list[Draw]]) -> list[Draw]:
    """The draws of several batches as one."""
    return [draw for batch in batches for draw in batch]


@settings(max_examples=100, deadline=None)
@given(sizes, small, seeds, steps)
def test_a_resumed_order_is_the_rest_of_an_undisturbed_one(size, batch, seed, start):
    whole = take(start + 5, size, batch, seed)
    assert take(5, size, batch, seed, start_step=start) == whole[start:]


@settings(max_examples=100, deadline=None)
@given(sizes, small, seeds)
def test_every_item_comes_once_in_an_epoch(size, batch, seed):
    draws = [d for b in take(3 * size, size, batch, seed) for d in b][: 3 * size]
    for epoch in range(3):
        part = draws[epoch * size : (epoch + 1) * size]
        assert [d.epoch for d in part] == [epoch] * size
        assert sorted(d.index for d in part) == list(range(size))


@settings(max_examples=100, deadline=None)
@given(sizes, small, seeds, steps, st.integers(1, 4))
def test_the_ranks_together_see_the_batch_that_one_process_would(size, batch, seed, start, world):
    one = take(4, size, batch * world, seed, start_step=start)
    ranks = [
        take(4, size, batch, seed, start_step=start, rank=rank, world_size=world)
        for rank in range(world)
    ]
    assert [join(parts) for parts in zip(*ranks, strict=True)] == one


@settings(max_examples=50, deadline=None)
@given(sizes, small, seeds, steps, st.integers(1, 4))
def test_accumulated_batches_are_the_large_batch_in_pieces(size, batch, seed, start, accumulate):
    large = take(3, size, batch * accumulate, seed, start_step=start)
    pieces = take(3 * accumulate, size, batch, seed, start_step=start * accumulate)
    joined = [join(pieces[k : k + accumulate]) for k in range(0, len(pieces), accumulate)]
    assert joined == large


def test_epochs_and_seeds_have_orders_of_their_own():
    order = DataOrder(50, 4, seed=1)
    first = order.permutation(0).tolist()
    assert first != order.permutation(1).tolist()
    assert first != DataOrder(50, 4, seed=2).permutation(0).tolist()
    assert first == DataOrder(50, 9, seed=1).permutation(0).tolist()


@pytest.mark.parametrize(
    ("size", "batch", "rank", "world"), [(0, 1, 0, 1), (1, 0, 0, 1), (1, 1, 1, 1), (1, 1, -1, 2)]
)
def test_what_makes_no_order_is_refused(size, batch, rank, world):
    with pytest.raises(ValueError, match="must be"):
        DataOrder(size, batch, 0, rank=rank, world_size=world)
