"""One step of each cell and the step back, for the Triton form of `flashrnn`.

All arguments are blocks (rows, units) in float32; what they do is said in `lstm.py`, `gru.py`,
`slstm.py` and `elman.py`. A step back takes the pre-activations, the states before and after, and
the gradients to the states after; it returns those to the pre-activations and to the states before,
without what reaches h through R.
"""

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    """Return the hyperbolic tangent, finite for any x: e^(-2x) alone would overflow."""
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def log_sigmoid(x):
    """Return log(sigmoid(x)), finite for any x."""
    return tl.minimum(x, 0.0) - tl.log(1 + tl.exp(-tl.abs(x)))


@triton.jit
def lstm(i, f, z, o, c, p_i, p_f, p_o):
    """Return h and c; the peepholes are zero where there are none."""
    c_new = tl.sigmoid(f + p_f * c) * c + tl.sigmoid(i + p_i * c) * tanh(z)
    return tl.sigmoid(o + p_o * c_new) * tanh(c_new), c_new


@triton.jit
def lstm_back(i, f, z, o, c, c_new, p_i, p_f, p_o, dh, dc):
    """Return the gradients to i, f, z, o and to c."""
    i, f, z = tl.sigmoid(i + p_i * c), tl.sigmoid(f + p_f * c), tanh(z)
    o, seen = tl.sigmoid(o + p_o * c_new), tanh(c_new)
    d_o = dh * seen * o * (1 - o)
    dc = dc + dh * o * (1 - seen * seen) + d_o * p_o
    d_i = dc * z * i * (1 - i)
    d_f = dc * c * f * (1 - f)
    d_z = dc * i * (1 - z * z)
    return d_i, d_f, d_z, d_o, dc * f + d_i * p_i + d_f * p_f


@triton.jit
def gru(g, r, z, n, h):
    """Return h."""
    n = tanh(n + tl.sigmoid(r) * g)
    return n + tl.sigmoid(z) * (h - n)


@triton.jit
def gru_back(g, r, z, n, h, dh):
    """Return the gradients to g, r, z, n and to h."""
    r, z = tl.sigmoid(r), tl.sigmoid(z)
    n = tanh(n + r * g)
    d_n = dh * (1 - z) * (1 - n * n)
    d_z = dh * (h - n) * z * (1 - z)
    return d_n * r, d_n * g * r * (1 - r), d_z, d_n, dh * z


@triton.jit
def slstm(i, f, z, o, c, n, m):
    """Return h, c, n and m."""
    past = tl.where(n == 0, float("-inf"), log_sigmoid(f) + m)
    m_new = tl.maximum(i, past)
    add, keep = tl.exp(i - m_new), tl.exp(past - m_new)
    c_new = keep * c + add * tanh(z)
    n_new = tl.maximum(keep * n + add, 1.0)
    return tl.sigmoid(o) * c_new / n_new, c_new, n_new, m_new


@triton.jit
def slstm_back(i, f, z, o, c, n, m, h_new, n_new, m_new, dh, dc, dn, dm):
    """Return the gradients to i, f, z, o and to c, n and m."""
    past = tl.where(n == 0, float("-inf"), log_sigmoid(f) + m)
    add, keep = tl.exp(i - m_new), tl.exp(past - m_new)
    z, o = tanh(z), tl.sigmoid(o)
    dc = dc + dh * o / n_new
    dn = dn - dh * h_new / n_new
    dn = tl.where(keep * n + add >= 1, dn, 0.0)  # n' is held at its bound
    d_i = (dc * z + dn) * add
    d_past = (dc * c + dn * n) * keep
    # m' gets what is left; where i and past are both the maximum, each takes half of it.
    d_m = dm - d_i - d_past
    from_i = tl.where(i > past, 1.0, tl.where(i == past, 0.5, 0.0))
    d_i += d_m * from_i
    d_past += d_m * (1 - from_i)
    d_f = d_past * tl.sigmoid(-f)
    return d_i, d_f, dc * add * (1 - z * z), dh * h_new * (1 - o), dc * keep, dn * keep, d_past
