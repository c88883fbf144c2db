"""Random inputs of the core's kernels, for `kernels.py` and `kernels_on_gpu.py`.

They are drawn on torch's default device, in float32, and so that states stay bounded; what has
gradients are the floating ones.
"""

from torch import Tensor, rand, randint, randn
from torch.nn import functional

Tensors = tuple[Tensor, ...]


def linear_scan(b: int, t: int, d: int) -> Tensors:
    """Return decays and what is added."""
    return 0.9 + 0.1 * rand(b, t, d), randn(b, t, d)


def selective_scan(b: int, t: int, d: int, n: int) -> Tensors:
    """Return u, delta, a, b and c."""
    return randn(b, t, d), 0.1 * rand(b, t, d), -rand(d, n), randn(b, t, n), randn(b, t, n)


def prefix_attention(b: int, t: int, h: int, d: int) -> Tensors:
    """Return q, k and v."""
    return randn(h, d), randn(b, t, h, d), randn(b, t, h, d)


def ssd(b: int, t: int, h: int, n: int) -> Tensors:
    """Return x, log_a, b and c."""
    return randn(b, t, h, n), -rand(b, t, h), randn(b, t, h, n) / n, randn(b, t, h, n)


def delta_rule(b: int, t: int, h: int, n: int) -> Tensors:
    """Return q, k, v and beta."""
    return *_queries_keys_values(b, t, h, n), rand(b, t, h)


def gated_linear_attention(b: int, t: int, h: int, n: int) -> Tensors:
    """Return q, k, v and log_a."""
    return *_queries_keys_values(b, t, h, n), -rand(b, t, h, n)


def _queries_keys_values(b: int, t: int, h: int, n: int) -> Tensors:
    keys = functional.normalize(randn(b, t, h, n), dim=-1)
    return randn(b, t, h, n) * n**-0.5, keys, randn(b, t, h, n)


def mixed_chunk_attention(b: int, t: int, n: int, p: int) -> Tensors:
    """Return the queries and keys of both sums, and v."""
    return *(randn(b, t, n) for _ in range(4)), randn(b, t, p)


def lstm(b: int, t: int, h: int, d: int) -> Tensors:
    """Return wx, r and b of head-wise LSTMs."""
    return randn(b, t, 4, h, d), randn(4, h, d, d) / d, randn(4, h, d)


def fir(b: int, t: int, c: int, k: int, m: int) -> Tensors:
    """Return x and k taps, m channels of x to each output."""
    return randn(b, t, c), randn(k, c // m, m) / k


def fft_conv(b: int, t: int, c: int, k: int) -> Tensors:
    """Return x and a kernel of k steps."""
    return randn(b, t, c), randn(k, c) / k


def linear_cross_entropy(m: int, c: int, v: int) -> Tensors:
    """Return hidden, a table, a bias and targets."""
    return randn(m, c), randn(v, c) / c**0.5, randn(v) / 8, randint(v, (m,))
