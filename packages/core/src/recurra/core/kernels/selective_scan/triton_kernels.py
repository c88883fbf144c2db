"""The kernels of the Triton form of `selective_scan`, each on a tile (BLOCK_D, BLOCK_N) of states.

In all, d are a program's channels and n its numbers of their states; what lies beyond the last of
either is loaded as zeros and not stored. A piece's steps beyond the end of its chunk are zeros too,
of which delta keeps the state as it is.
"""

import triton
import triton.language as tl

_RUNTIME = ["n_steps", "n_chunks", "steps"]


@triton.jit
def _place(n_steps, n_chunks, steps, channels, width, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr):
    """Return a program's row and chunk, the chunk's first step and its end, d and n."""
    d_blocks, n_blocks = tl.cdiv(channels, BLOCK_D), tl.cdiv(width, BLOCK_N)
    program = tl.program_id(0)
    n = program % n_blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    d = program // n_blocks % d_blocks * BLOCK_D + tl.arange(0, BLOCK_D)
    place = program // n_blocks // d_blocks
    chunk = place % n_chunks
    first = chunk * steps
    row = (place // n_chunks).to(tl.int64)
    return row, chunk, first, tl.minimum(first + steps, n_steps), d, n


@triton.jit
def _tile(x, place, d, n, channels, width):
    """Return where a tile of one of the (D, N) lies, and what of it exists."""
    at = x + (place * channels + d[:, None]) * width + n[None, :]
    return at, (d < channels)[:, None] & (n < width)[None, :]


@triton.jit
def _load_tile(x, place, d, n, channels, width):
    at, mask = _tile(x, place, d, n, channels, width)
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store_tile(x, place, d, n, channels, width, tile):
    at, mask = _tile(x, place, d, n, channels, width)
    tl.store(at, tile, mask=mask)


@triton.jit
def _piece(x, row, n_steps, first, end, e, width, PIECE: tl.constexpr):
    """Load the elements e of the steps of a piece, as a tuple: zeros, which keep, from `end` on."""
    values = ()
    for k in tl.static_range(PIECE):
        at = x + (row * n_steps + first + k) * width + e
        mask = (e < width) & (first + k < end)
        values += (tl.load(at, mask=mask, other=0.0).to(tl.float32),)  # type: ignore[assignment]
    return values


@triton.jit(do_not_specialize=_RUNTIME)
def summary(
    x,
    delta,
    a,
    weights,
    totals,
    ends,
    n_steps,
    n_chunks,
    steps,
    channels,
    width,
    BACKWARD: tl.constexpr,
    PIECE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write each chunk's sum of delta (B, n, D), and its end from a zero state (B, n, D, N)."""
    row, chunk, first, end, d, n = _place(
        n_steps, n_chunks, steps, channels, width, BLOCK_D, BLOCK_N
    )
    rates = _load_tile(a, 0, d, n, channels, width)
    state = tl.zeros((BLOCK_D, BLOCK_N), tl.float32)
    total = tl.zeros((BLOCK_D,), tl.float32)
    last = first + (end - first - 1) // PIECE * PIECE
    done = 0
    while first + done < end:
        s = (last - done) if BACKWARD else (first + done)
        xs = _piece(x, row, n_steps, s, end, d, channels, PIECE)
        deltas = _piece(delta, row, n_steps, s, end, d, channels, PIECE)
        ws = _piece(weights, row, n_steps, s, end, n, width, PIECE)
        if BACKWARD:
            for k in tl.static_range(PIECE - 1, -1, -1):
                decay = tl.exp(deltas[k][:, None] * rates)
                state = decay * (state + xs[k][:, None] * ws[k][None, :])
                total += deltas[k]
        else:
            for k in tl.static_range(PIECE):
                decay = tl.exp(deltas[k][:, None] * rates)
                state = decay * state + (deltas[k] * xs[k])[:, None] * ws[k][None, :]
                total += deltas[k]
        done += PIECE
    place = row * n_chunks + chunk
    _store_tile(ends, place, d, n, channels, width, state)
    # Every block of N has the same sums; the first writes them.
    mask = (d < channels) & (tl.program_id(0) % tl.cdiv(width, BLOCK_N) == 0)
    tl.store(totals + place * channels + d, total, mask=mask)


@triton.jit(do_not_specialize=_RUNTIME)
def run(
    u,
    delta,
    a,
    b,
    c,
    starts,
    y,
    last,
    kept,
    n_steps,
    n_chunks,
    steps,
    channels,
    width,
    KEEP: tl.constexpr,
    PIECE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write each block of N's part of y (B, blocks, T, D), and the last states (B, D, N).

    With KEEP, write the states before the pieces (B, T / PIECE, D, N).
    """
    row, chunk, first, end, d, n = _place(
        n_steps, n_chunks, steps, channels, width, BLOCK_D, BLOCK_N
    )
    rates = _load_tile(a, 0, d, n, channels, width)
    state = _load_tile(starts, row * n_chunks + chunk, d, n, channels, width)
    n_blocks = tl.cdiv(width, BLOCK_N)
    y_row = row * n_blocks + tl.program_id(0) % n_blocks
    s = first
    while s < end:
        us = _piece(u, row, n_steps, s, end, d, channels, PIECE)
        deltas = _piece(delta, row, n_steps, s, end, d, channels, PIECE)
        bs = _piece(b, row, n_steps, s, end, n, width, PIECE)
        cs = _piece(c, row, n_steps, s, end, n, width, PIECE)
        if KEEP:
            place = row * tl.cdiv(n_steps, PIECE) + s // PIECE
            _store_tile(kept, place, d, n, channels, width, state)
        for k in tl.static_range(PIECE):
            decay = tl.exp(deltas[k][:, None] * rates)
            state = decay * state + (deltas[k] * us[k])[:, None] * bs[k][None, :]
            at = y + (y_row * n_steps + s + k) * channels + d
            mask = (d < channels) & (s + k < end)
            tl.store(at, tl.sum(state * cs[k][None, :], axis=1), mask=mask)
        s += PIECE
    if chunk == n_chunks - 1:
        _store_tile(last, row, d, n, channels, width, state)


@triton.jit(do_not_specialize=_RUNTIME)
def run_back(
    u,
    delta,
    a,
    b,
    c,
    grad,
    kept,
    starts,
    of_u,
    of_delta,
    of_a,
    of_b,
    of_c,
    of_state,
    n_steps,
    n_chunks,
    steps,
    channels,
    width,
    PIECE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Write the gradients, or each program's part of them.

    Those to u and delta are (B, blocks of N, T, D), to b and c (B, blocks of D, T, N), to a
    (B, chunks, D, N), to the state before the first step (B, D, N).
    """
    row, chunk, first, end, d, n = _place(
        n_steps, n_chunks, steps, channels, width, BLOCK_D, BLOCK_N
    )
    n_blocks, d_blocks = tl.cdiv(width, BLOCK_N), tl.cdiv(channels, BLOCK_D)
    u_row = row * n_blocks + tl.program_id(0) % n_blocks
    b_row = row * d_blocks + tl.program_id(0) // n_blocks % d_blocks
    rates = _load_tile(a, 0, d, n, channels, width)
    to_state = _load_tile(starts, row * n_chunks + chunk, d, n, channels, width)
    to_rates = tl.zeros((BLOCK_D, BLOCK_N), tl.float32)
    s = first + (end - first - 1) // PIECE * PIECE
    while s >= first:
        us = _piece(u, row, n_steps, s, end, d, channels, PIECE)
        deltas = _piece(delta, row, n_steps, s, end, d, channels, PIECE)
        bs = _piece(b, row, n_steps, s, end, n, width, PIECE)
        gs = _piece(grad, row, n_steps, s, end, d, channels, PIECE)
        cs = _piece(c, row, n_steps, s, end, n, width, PIECE)
        place = row * tl.cdiv(n_steps, PIECE) + s // PIECE
        state = _load_tile(kept, place, d, n, channels, width)
        before = ()
        for k in tl.static_range(PIECE):
            before += (state,)  # type: ignore[assignment]
            decay = tl.exp(deltas[k][:, None] * rates)
            state = decay * state + (deltas[k] * us[k])[:, None] * bs[k][None, :]
        for k in tl.static_range(PIECE - 1, -1, -1):
            decay = tl.exp(deltas[k][:, None] * rates)
            held = decay * before[k]
            state = held + (deltas[k] * us[k])[:, None] * bs[k][None, :]
            to_state += gs[k][:, None] * cs[k][None, :]
            to_log = to_state * held  # the gradient to the logarithm of the decay
            to_rates += deltas[k][:, None] * to_log
            to_added = tl.sum(to_state * bs[k][None, :], axis=1)  # to delta u
            to_rate = tl.sum(to_log * rates, axis=1) + us[k] * to_added
            at = (u_row * n_steps + s + k) * channels + d
            mask = (d < channels) & (s + k < end)
            tl.store(of_u + at, deltas[k] * to_added, mask=mask)
            tl.store(of_delta + at, to_rate, mask=mask)
            to_key = tl.sum((deltas[k] * us[k])[:, None] * to_state, axis=0)
            at = (b_row * n_steps + s + k) * width + n
            mask = (n < width) & (s + k < end)
            tl.store(of_b + at, to_key, mask=mask)
            tl.store(of_c + at, tl.sum(gs[k][:, None] * state, axis=0), mask=mask)
            to_state = decay * to_state
        s -= PIECE
    _store_tile(of_a, row * n_chunks + chunk, d, n, channels, width, to_rates)
    if chunk == 0:
        _store_tile(of_state, row, d, n, channels, width, to_state)
