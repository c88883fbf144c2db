"""Rows of unlike lengths: what every kernel and layer does with `lengths`."""

import torch
from torch import Tensor


def check_lengths(lengths: Tensor | None, x: Tensor) -> None:
    """Raise ValueError unless `lengths` is None or integers (B,) for x (B, T, ...)."""
    if lengths is None:
        return
    if lengths.shape != x.shape[:1]:
        raise ValueError(f"lengths must be (B,) = {tuple(x.shape[:1])}, not {tuple(lengths.shape)}")
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise ValueError(f"lengths must be integers, not {lengths.dtype}")


def steps_inside(lengths: Tensor, x: Tensor) -> Tensor:
    """Return which steps of x (B, T, ...) count, as booleans (B, T, 1, ...) with as many axes."""
    steps = torch.arange(x.shape[1], device=x.device)
    inside = steps < lengths.to(x.device)[:, None]  # (B, T)
    return inside.reshape(inside.shape + (1,) * (x.dim() - 2))


def zero_beyond(lengths: Tensor | None, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Put zeros in each (B, T, ...) from its row's length on, whatever stood there.

    A zero in a logarithm of a decay keeps the state, a zero in an input adds nothing to it: the
    state after the last step is the one after the last counted step. Gradients there are zero even
    where the inputs are NaN, which a product with a mask would not give.
    """
    if lengths is None:
        return inputs
    return tuple(torch.where(steps_inside(lengths, x), x, 0) for x in inputs)


def last_steps(line: Tensor, count: int, n_new: int, lengths: Tensor | None) -> Tensor:
    """Return the `count` steps of a line that end at each row's length.

    Args:
        line: (B, S, ...), what came before and, as its last `n_new` steps, what is new; there are
            at least `count` steps before.
        count: how many steps, 0 or more.
        n_new: T, how many steps the lengths are counted in.
        lengths: (B,) integers from 0 to T; None is T for all.

    Returns:
        (B, count, ...).
    """
    if lengths is None:
        return line[:, line.shape[1] - count :]
    start = line.shape[1] - n_new - count + lengths.to(line.device)  # (B,)
    steps = start[:, None] + torch.arange(count, device=line.device)  # (B, count)
    return line[torch.arange(line.shape[0], device=line.device)[:, None], steps]
