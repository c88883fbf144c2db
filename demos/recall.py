"""Recall: write values under keys, over older values, and read the newest of each key back.

The state is a matrix of the same size in all three. Linear attention sums all writes. With a decay
what is old fades, whether it was replaced or not: Mamba-2 takes its decay from the step's input,
but here all steps are alike, and no step shows what else is stored. The delta rule takes away what
stands under the key and leaves the rest. Nothing is trained: keys and values are random directions,
and the decay is the best of many for each point.

Source: Schlag et al. 2021, "Linear Transformers Are Secretly Fast Weight Programmers" (arXiv
2102.11174, section 4.2).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.kernels import delta_rule, ssd

KEYS = 16
VALUES = 64
WIDTH = 64  # of keys and values: the state is WIDTH x WIDTH
DECAYS = 1 - torch.logspace(-3, -0.3, 16)  # .999 to .5
TIMES = (1, 2, 3, 4, 6, 8, 12, 16)  # how often each key is written


def recall(seeds: Sequence[int], *, rows: int = 32) -> dict[str, Tensor]:
    """Return for each rule (seeds, TIMES): how often a key reads its newest value, of `rows`."""
    found: dict[str, list[list[float]]] = {}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        shares = [_shares(count, rows, generator) for count in TIMES]
        for rule in shares[0]:
            found.setdefault(rule, []).append([share[rule] for share in shares])
    return {rule: torch.tensor(shares) for rule, shares in found.items()}


def _shares(count: int, rows: int, generator: torch.Generator) -> dict[str, float]:
    """Write each key `count` times in random order; the share of right answers of each rule."""
    keys, values = (
        functional.normalize(torch.randn(rows, n, WIDTH, generator=generator), dim=-1)
        for n in (KEYS, VALUES)
    )
    which = torch.rand(rows, KEYS * count, generator=generator).argsort(1) % KEYS  # (B, T)
    what = torch.randint(0, VALUES, which.shape, generator=generator)
    newest = _newest(which, what)
    k = torch.take_along_dim(keys, which[..., None], 1).unsqueeze(2)  # (B, T, H = 1, WIDTH)
    v = torch.take_along_dim(values, what[..., None], 1).unsqueeze(2)

    def share(state: Tensor) -> float:  # (B, H = 1, WIDTH, WIDTH)
        read = torch.einsum("bpn,bkn->bkp", state[:, 0], keys)
        best = torch.einsum("bkp,bvp->bkv", read, values).argmax(-1)
        return (best == newest).float().mean().item()

    one = torch.ones(k.shape[:3])
    _, corrected = delta_rule(k, k, v, one)
    _, summed = ssd(v, torch.zeros_like(one), k, k)
    faded = [ssd(v, decay.log() * one, k, k)[1] for decay in DECAYS]
    return {
        "delta rule": share(corrected),
        "sum with the best decay": max(share(state) for state in faded),
        "sum (linear attention)": share(summed),
    }


def _newest(which: Tensor, what: Tensor) -> Tensor:
    """Return (B, KEYS): the value that was last written under each key."""
    of_key = which[:, None] == torch.arange(KEYS)[:, None]  # (B, KEYS, T)
    last = (of_key * torch.arange(which.shape[1])).amax(-1)
    return what.gather(1, last)
