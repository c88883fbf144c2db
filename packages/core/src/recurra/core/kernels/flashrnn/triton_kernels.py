"""The two kernels of the Triton form of `flashrnn`: each runs 16 rows of one head through time.

Blocks are (rows, units); units beyond the width and rows beyond the last are loaded as zeros, stay
finite and are not stored. `triton_cells.py` has what a step does to them.
"""

import triton
import triton.language as tl

from recurra.core.kernels.flashrnn import triton_cells


@triton.jit
def _matrix(r, gate, head, heads, width, BLOCK: tl.constexpr, TURNED: tl.constexpr):
    """Load a gate's recurrent matrix (out, in), or with TURNED (in, out), in zeros."""
    i, j = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    at = (j * width + i) if TURNED else (i * width + j)
    inside = (i < width) & (j < width)
    at = r + (gate * heads + head) * width * width + at
    return tl.load(at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _vector(x, index, head, heads, width, BLOCK: tl.constexpr):
    """Load a gate's bias or a peephole as a block (1, units)."""
    d = tl.arange(0, BLOCK)[None, :]
    at = x + (index * heads + head) * width + d
    return tl.load(at, mask=d < width, other=0.0).to(tl.float32)


@triton.jit
def _values(x, at, mask):
    return tl.load(x + at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _product(x, matrix, PRECISION: tl.constexpr):
    return tl.dot(x, matrix, input_precision=PRECISION)


@triton.jit(do_not_specialize=["n_rows", "n_steps"])
def forward(
    wx,
    r,
    b,
    states,
    h_all,
    c_all,
    n_all,
    m_all,
    last,
    peephole,
    idle,
    n_rows,
    n_steps,
    heads,
    width,
    CELL: tl.constexpr,
    N_STATES: tl.constexpr,
    KEPT: tl.constexpr,
    REVERSE: tl.constexpr,
    PEEPHOLE: tl.constexpr,
    IDLE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the last states (B, S, H, D), and those that are kept after each step.

    `wx` is (B, T, G, H, D), `states` (B, S, H, D), each of `h_all` to `m_all` (T + 1, B, H, D) in
    the order of time. Where IDLE, `idle` (T, B) says which rows' states stand still.
    """
    head = tl.program_id(0) % heads
    row = (tl.program_id(0) // heads * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    d = tl.arange(0, BLOCK)[None, :]
    mask = (row < n_rows) & (d < width)
    gap = heads * width  # from a gate to the next, and from a state to the next
    start = row * N_STATES * gap + head * width + d
    h = _values(states, start, mask)
    if N_STATES > 1:
        c = _values(states, start + gap, mask)
    if N_STATES > 2:
        n = _values(states, start + 2 * gap, mask)
        m = _values(states, start + 3 * gap, mask)
    N_INPUT: tl.constexpr = 1 if CELL == "elman" else (3 if CELL == "gru" else 4)
    r_0 = _matrix(r, 0, head, heads, width, BLOCK, True)
    b_0 = _vector(b, 0, head, heads, width, BLOCK)
    if CELL != "elman":
        r_1 = _matrix(r, 1, head, heads, width, BLOCK, True)
        r_2 = _matrix(r, 2, head, heads, width, BLOCK, True)
        b_1 = _vector(b, 1, head, heads, width, BLOCK)
        b_2 = _vector(b, 2, head, heads, width, BLOCK)
        b_3 = _vector(b, 3, head, heads, width, BLOCK)
    if CELL == "lstm" or CELL == "slstm":
        r_3 = _matrix(r, 3, head, heads, width, BLOCK, True)
    p_i, p_f, p_o = 0.0, 0.0, 0.0
    if PEEPHOLE:
        p_i = _vector(peephole, 0, head, heads, width, BLOCK)
        p_f = _vector(peephole, 1, head, heads, width, BLOCK)
        p_o = _vector(peephole, 2, head, heads, width, BLOCK)

    s = 0
    while s < n_steps:
        t = (n_steps - 1 - s) if REVERSE else s
        x_at = (row * n_steps + t) * N_INPUT * gap + head * width + d
        x_0 = _values(wx, x_at, mask)
        if CELL != "elman":
            x_1 = _values(wx, x_at + gap, mask)
            x_2 = _values(wx, x_at + 2 * gap, mask)
        if N_INPUT == 4:
            x_3 = _values(wx, x_at + 3 * gap, mask)
        if IDLE:
            still = tl.load(idle + t * n_rows + row, mask=row < n_rows, other=1) != 0
            h_old = h
            if N_STATES > 1:
                c_old = c
            if N_STATES > 2:
                n_old, m_old = n, m
        if CELL == "elman":
            h = triton_cells.tanh(x_0 + b_0 + _product(h, r_0, PRECISION))
        elif CELL == "gru":
            gate_g = b_0 + _product(h, r_0, PRECISION)
            gate_r = x_0 + b_1 + _product(h, r_1, PRECISION)
            gate_z = x_1 + b_2 + _product(h, r_2, PRECISION)
            h = triton_cells.gru(gate_g, gate_r, gate_z, x_2 + b_3, h)
        else:
            i = x_0 + b_0 + _product(h, r_0, PRECISION)
            f = x_1 + b_1 + _product(h, r_1, PRECISION)
            z = x_2 + b_2 + _product(h, r_2, PRECISION)
            o = x_3 + b_3 + _product(h, r_3, PRECISION)
            if CELL == "lstm":
                h, c = triton_cells.lstm(i, f, z, o, c, p_i, p_f, p_o)
            else:
                h, c, n, m = triton_cells.slstm(i, f, z, o, c, n, m)
        if IDLE:
            h = tl.where(still, h_old, h)
            if N_STATES > 1:
                c = tl.where(still, c_old, c)
            if N_STATES > 2:
                n = tl.where(still, n_old, n)
                m = tl.where(still, m_old, m)
        new = ((t if REVERSE else t + 1) * n_rows + row) * gap + head * width + d
        tl.store(h_all + new, h, mask=mask)
        if KEPT > 1:
            tl.store(c_all + new, c, mask=mask)
        if KEPT > 2:
            tl.store(n_all + new, n, mask=mask)
            tl.store(m_all + new, m, mask=mask)
        s += 1
    tl.store(last + start, h, mask=mask)
    if N_STATES > 1:
        tl.store(last + start + gap, c, mask=mask)
    if N_STATES > 2:
        tl.store(last + start + 2 * gap, n, mask=mask)
        tl.store(last + start + 3 * gap, m, mask=mask)


@triton.jit(do_not_specialize=["n_rows", "n_steps"])
def backward(
    gates,
    r,
    h_all,
    c_all,
    n_all,
    m_all,
    grad_h,
    grad_c,
    grad_n,
    grad_m,
    grads,
    peephole,
    idle,
    n_rows,
    n_steps,
    heads,
    width,
    CELL: tl.constexpr,
    N_STATES: tl.constexpr,
    KEPT: tl.constexpr,
    REVERSE: tl.constexpr,
    PEEPHOLE: tl.constexpr,
    IDLE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Turn `gates` (T, B, H, G, D) and `grads` (B, S, H, D) into gradients, where they lie.

    Before, `gates` are the pre-activations and `grads` what comes in to the last states; after,
    they are the gradients to the pre-activations and to the first states. `h_all` to `m_all` are
    the states (T + 1, B, H, D), `grad_h` to `grad_m` what comes in to those after each step.
    """
    head = tl.program_id(0) % heads
    row = (tl.program_id(0) // heads * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    d = tl.arange(0, BLOCK)[None, :]
    mask = (row < n_rows) & (d < width)
    gap = heads * width
    start = row * N_STATES * gap + head * width + d
    dh = _values(grads, start, mask)
    if N_STATES > 1:
        dc = _values(grads, start + gap, mask)
    if N_STATES > 2:
        dn = _values(grads, start + 2 * gap, mask)
        dm = _values(grads, start + 3 * gap, mask)
    N_GATES: tl.constexpr = 1 if CELL == "elman" else 4
    r_0 = _matrix(r, 0, head, heads, width, BLOCK, False)
    if CELL != "elman":
        r_1 = _matrix(r, 1, head, heads, width, BLOCK, False)
        r_2 = _matrix(r, 2, head, heads, width, BLOCK, False)
    if CELL == "lstm" or CELL == "slstm":
        r_3 = _matrix(r, 3, head, heads, width, BLOCK, False)
    p_i, p_f, p_o = 0.0, 0.0, 0.0
    if PEEPHOLE:
        p_i = _vector(peephole, 0, head, heads, width, BLOCK)
        p_f = _vector(peephole, 1, head, heads, width, BLOCK)
        p_o = _vector(peephole, 2, head, heads, width, BLOCK)

    s = n_steps - 1
    while s >= 0:
        t = (n_steps - 1 - s) if REVERSE else s
        at = (t * n_rows + row) * gap + head * width + d  # in what has an entry a step
        old = at + (n_rows * gap if REVERSE else 0)  # in the states, which have one more
        new = at + (0 if REVERSE else n_rows * gap)
        dh += _values(grad_h, at, mask)
        if KEPT > 1:
            dc += _values(grad_c, at, mask)
        if KEPT > 2:
            dn += _values(grad_n, at, mask)
            dm += _values(grad_m, at, mask)
        counts = mask
        if IDLE:
            still = tl.load(idle + t * n_rows + row, mask=row < n_rows, other=1) != 0
            counts = mask & (still == 0)
        gate_at = gates + ((t * n_rows + row) * heads + head) * N_GATES * width + d
        if CELL == "elman":
            h_new = _values(h_all, new, mask)
            d_0 = tl.where(counts, dh * (1 - h_new * h_new), 0.0)
            back = _product(d_0, r_0, PRECISION)
            kept_dh = tl.zeros_like(dh)
        else:
            g_0 = _values(gate_at, 0, mask)
            g_1 = _values(gate_at, width, mask)
            g_2 = _values(gate_at, 2 * width, mask)
            g_3 = _values(gate_at, 3 * width, mask)
            if CELL == "gru":
                h = _values(h_all, old, mask)
                d_0, d_1, d_2, d_3, kept_dh = triton_cells.gru_back(g_0, g_1, g_2, g_3, h, dh)
            if CELL == "lstm":
                c, c_new = _values(c_all, old, mask), _values(c_all, new, mask)
                d_0, d_1, d_2, d_3, dc_old = triton_cells.lstm_back(
                    g_0, g_1, g_2, g_3, c, c_new, p_i, p_f, p_o, dh, dc
                )
                kept_dh = tl.zeros_like(dh)
            if CELL == "slstm":
                c, n = _values(c_all, old, mask), _values(n_all, old, mask)
                m, h_new = _values(m_all, old, mask), _values(h_all, new, mask)
                n_new, m_new = _values(n_all, new, mask), _values(m_all, new, mask)
                n_new = tl.where(counts, n_new, 1.0)  # in a fresh cell that stands still it is 0
                d_0, d_1, d_2, d_3, dc_old, dn_old, dm_old = triton_cells.slstm_back(
                    g_0, g_1, g_2, g_3, c, n, m, h_new, n_new, m_new, dh, dc, dn, dm
                )
                kept_dh = tl.zeros_like(dh)
            d_0 = tl.where(counts, d_0, 0.0)
            d_1 = tl.where(counts, d_1, 0.0)
            d_2 = tl.where(counts, d_2, 0.0)
            d_3 = tl.where(counts, d_3, 0.0)
            tl.store(gate_at + width, d_1, mask=mask)
            tl.store(gate_at + 2 * width, d_2, mask=mask)
            tl.store(gate_at + 3 * width, d_3, mask=mask)
            back = _product(d_0, r_0, PRECISION)
            back += _product(d_1, r_1, PRECISION)
            back += _product(d_2, r_2, PRECISION)
            if CELL != "gru":
                back += _product(d_3, r_3, PRECISION)
        tl.store(gate_at, d_0, mask=mask)
        if IDLE:
            dh = tl.where(still, dh, back + kept_dh)
            if N_STATES > 1:
                dc = tl.where(still, dc, dc_old)
            if N_STATES > 2:
                dn = tl.where(still, dn, dn_old)
                dm = tl.where(still, dm, dm_old)
        else:
            dh = back + kept_dh
            if N_STATES > 1:
                dc = dc_old
            if N_STATES > 2:
                dn, dm = dn_old, dm_old
        s -= 1
    tl.store(grads + start, dh, mask=mask)
    if N_STATES > 1:
        tl.store(grads + start + gap, dc, mask=mask)
    if N_STATES > 2:
        tl.store(grads + start + 2 * gap, dn, mask=mask)
        tl.store(grads + start + 3 * gap, dm, mask=mask)
