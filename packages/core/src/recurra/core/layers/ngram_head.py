"""The n-gram head: what followed, earlier in the row, wherever the last n tokens stood before."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.kernels import linear_scan
from recurra.core.kernels.lengths import check_lengths, last_steps, zero_beyond

State = dict[str, Tensor]
_UNUSED = torch.iinfo(torch.int64).max
_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, as a signed number


class NGramHead(nn.Module):
    """y_t = skip(x_t) + follow(mean of x_j over all j <= t that came right after a match).

    A match is a place where the n tokens before step j are the last n tokens at step t; without any
    the mean is zero. So a head of x = one-hot tokens reads off the n-gram counts of the row itself.
    For given tokens it is linear in x.

    Contexts of n tokens are found by hashing and sorting, in O(T log T + T C). The first `slots`
    different contexts of a row are remembered, with the sum of what followed each; later ones are
    not, so choose it above the number of steps where every match counts. A step of a stream costs
    O(slots * C). Hashes have 64 bits and are exact for n = 1, and for n = 2 of ids below 2^30.

    Source: Akyurek et al. 2024, "In-Context Language Learning: Architectures and Algorithms" (arXiv
    2401.12973, section 6: n-gram heads). There the matches are a T x T matrix.

    Args:
        d_model: C, the channels of x and y.
        n: how many tokens make a context, at least 1.
        slots: how many contexts a row can remember.
    """

    causal = True
    streams = True
    is_linear = True
    look_ahead = 0

    def __init__(self, d_model: int, n: int = 1, *, slots: int = 1024) -> None:
        super().__init__()
        if n < 1 or slots < 1:
            raise ValueError(f"n and slots must be at least 1, not {n} and {slots}")
        self.n = n
        self.slots = slots
        self.skip = nn.Linear(d_model, d_model, bias=False)
        self.follow = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self,
        x: Tensor,
        tokens: Tensor,
        state: State | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Add what followed the last n tokens before.

        Args:
            x: (B, T, C), what stands at each step: embeddings, or what a layer made of them.
            tokens: (B, T) integers, the ids that are matched.
            state: what `forward` or `initial_state` returned before.
            lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the
                row changes nothing, whatever stands there, and its y is zero.

        Returns:
            y (B, T, C), and the state after each row's last step: "tokens" (B, n), its last ones,
            and how many of them there are, "seen" (B,); "used" (B,), how many slots are; "tags"
            (B, slots), the hash of each slot's context, and "sums" (B, slots, C + 1), the sum of
            what followed it and how often, in float32 or better.

        Raises:
            ValueError: tokens that are not (B, T) integers, lengths that are not (B,) integers.
        """
        if tokens.shape != x.shape[:2] or tokens.is_floating_point():
            raise ValueError(
                f"tokens must be (B, T) = {tuple(x.shape[:2])} integers, not "
                f"{tuple(tokens.shape)} {tokens.dtype}"
            )
        check_lengths(lengths, x)
        before = state or self.initial_state(x)
        (x,) = zero_beyond(lengths, x)
        line = torch.cat([before["tokens"], tokens.to(torch.int64)], dim=1)
        counts = torch.full_like(before["seen"], x.shape[1])
        counts = counts if lengths is None else lengths.to(counts)
        # Context e is the n tokens before step e; step e follows it, and step e - 1 asks for it.
        asked = torch.arange(x.shape[1] + 1, device=x.device)
        known = (before["seen"][:, None] + asked >= self.n) & (asked <= counts[:, None])
        written = known & (asked < counts[:, None])
        hashes = torch.where(known, self._hash(line), _UNUSED)
        ones = x.new_ones(*x.shape[:2], 1, dtype=before["sums"].dtype)
        follower = torch.cat([x.to(ones.dtype), ones], dim=-1)
        follower = functional.pad(follower, (0, 0, 0, 1))
        follower = torch.where(written[..., None], follower, 0)  # (B, T + 1, C + 1)
        run = _one_step if x.shape[1] == 1 else _all_steps
        found, table = run(hashes, known, written, follower, before)
        times = found[..., -1:]
        mean = (found[..., :-1] / torch.where(times > 0.5, times, 1)).to(x.dtype)
        y = self.skip(x) + self.follow(mean)
        return zero_beyond(lengths, y)[0], {
            "tokens": last_steps(line, self.n, x.shape[1], lengths),
            "seen": (before["seen"] + counts).clamp(max=self.n),
            **table,
        }

    def initial_state(self, x: Tensor) -> State:
        """Return the state before the first step, for rows typed as x (B, T, C)."""
        rows, device = x.shape[0], x.device
        dtype = torch.promote_types(x.dtype, torch.float32)
        return {
            "tokens": torch.zeros(rows, self.n, dtype=torch.int64, device=device),
            "seen": torch.zeros(rows, dtype=torch.int64, device=device),
            "used": torch.zeros(rows, dtype=torch.int64, device=device),
            "tags": torch.zeros(rows, self.slots, dtype=torch.int64, device=device),
            "sums": x.new_zeros(rows, self.slots, x.shape[2] + 1, dtype=dtype),
        }

    def state_size(self) -> int:
        """Return how many numbers a row keeps, however many steps came before."""
        return self.slots * (self.skip.in_features + 2) + self.n + 2

    def _hash(self, line: Tensor) -> Tensor:
        """Return a number for each run of n tokens of line (B, n + T): (B, T + 1)."""
        windows = line.unfold(1, self.n, 1).unbind(2)
        value = windows[0]
        for token in windows[1:]:
            value = value * _GOLDEN + token  # wraps around
        return value


def _one_step(
    hashes: Tensor, known: Tensor, written: Tensor, follower: Tensor, before: State
) -> tuple[Tensor, State]:
    """Write after the context before the step, and look up the one after it."""
    slots = torch.arange(before["tags"].shape[1], device=hashes.device)
    used = before["used"][:, None]
    same = (before["tags"] == hashes[:, :1]) & (slots < used)  # (B, slots)
    new = written[:, :1] & ~same.any(1, keepdim=True)
    here = (same & written[:, :1]) | (new & (slots == used))
    # What an unused slot holds does not count.
    sums = torch.where((slots < used)[..., None], before["sums"], 0)
    sums = sums + torch.where(here[..., None], follower[:, :1], 0)
    tags = torch.where(here, hashes[:, :1], before["tags"])
    used = (used + new).clamp(max=len(slots))
    asked = (tags == hashes[:, 1:]) & (slots < used) & known[:, 1:]
    found = asked[:, None].to(sums.dtype) @ sums  # (B, 1, C + 1)
    return found, {"used": used.squeeze(1), "tags": tags, "sums": sums}


def _all_steps(
    hashes: Tensor, known: Tensor, written: Tensor, follower: Tensor, before: State
) -> tuple[Tensor, State]:
    """Sort the slots and the contexts by their hash, and sum along each run of equal ones.

    A sort that keeps the order of equals leaves each context's slot first, then its steps in time.
    """
    n_slots = before["tags"].shape[1]
    filled = torch.arange(n_slots, device=hashes.device) < before["used"][:, None]
    tags = torch.where(filled, before["tags"], _UNUSED)
    known, written = (torch.cat([filled, x], dim=1) for x in (known, written))  # (B, K)
    hashes, order = torch.cat([tags, hashes], dim=1).sort(dim=1, stable=True)
    values = torch.cat([before["sums"], follower], dim=1)
    wide = order[..., None].expand(-1, -1, values.shape[2])
    values = values.gather(1, wide)
    known_sorted, written_sorted = known.gather(1, order), written.gather(1, order)
    starts = functional.pad(hashes[:, 1:] != hashes[:, :-1], (1, 0), value=True)
    # What came before in the run, of which the last one itself is no part.
    earlier = functional.pad(values[:, :-1], (0, 0, 1, 0)).where(~starts[..., None], 0)
    sums, _ = linear_scan((~starts)[..., None].to(values.dtype), earlier)

    # Contexts get slots in the order of their first places.
    first = torch.zeros_like(known).scatter(1, order, starts & known_sorted)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    start = torch.where(starts, places, 0).cummax(1).values
    slot = (first.cumsum(1) - 1).gather(1, order).gather(1, start)
    kept = known_sorted & (slot < n_slots)

    back = order.argsort(1)[:, n_slots + 1 :]
    found = sums.where(kept[..., None], 0)
    found = found.gather(1, back[..., None].expand(-1, -1, values.shape[2]))

    # A run's last place has its total; one that is only asked for is not remembered.
    last = functional.pad(starts[:, 1:], (0, 1), value=True)
    target = torch.where(last & kept & written_sorted.gather(1, start), slot, n_slots)
    tags = torch.zeros_like(hashes[:, :1]).expand(-1, n_slots + 1).scatter(1, target, hashes)
    table = values.new_zeros(values.shape[0], n_slots + 1, values.shape[2])
    table = table.scatter(1, target[..., None].expand_as(wide), sums + values)
    used = (first & written).sum(1).clamp(max=n_slots)
    return found, {"used": used, "tags": tags[:, :n_slots], "sums": table[:, :n_slots]}
