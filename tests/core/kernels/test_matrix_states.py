"""What holds for every kernel whose state is a matrix a head, besides the laws of `test_laws`."""

from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional

from recurra.core.kernels import delta_rule, gated_linear_attention, ssd


def random(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def decay(generator, *shape):
    """Logarithms of decays from e^-2 to 1."""
    return -2 * torch.rand(*shape, generator=generator, dtype=torch.float64)


@dataclass
class Case:
    """A kernel with what draws its inputs, in order; the last is log_a if it `decays`."""

    run: object
    make: object
    decays: bool = True

    def inputs(self, batch, steps, width=5, keys=3, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return list(self.make(generator, batch, steps, width, keys))

    def state(self, batch, width=5, keys=3, seed=9):
        return random(torch.Generator().manual_seed(seed), batch, 2, width, keys)


def ssd_inputs(groups):
    def make(g, b, t, p, n):
        key, query = random(g, b, t, groups, n), random(g, b, t, groups, n)
        return random(g, b, t, 2, p), key, query, decay(g, b, t, 2)

    return make


def attention_inputs(g, b, t, p, n):
    key = functional.normalize(random(g, b, t, 2, n), dim=-1)
    return random(g, b, t, 2, n), key, random(g, b, t, 2, p)


CASES = {
    "ssd": Case(lambda x, b, c, log_a, **o: ssd(x, log_a, b, c, **o), ssd_inputs(2)),
    "ssd_one_group": Case(lambda x, b, c, log_a, **o: ssd(x, log_a, b, c, **o), ssd_inputs(1)),
    "gated_linear_attention": Case(
        gated_linear_attention,
        lambda g, b, t, p, n: (*attention_inputs(g, b, t, p, n), decay(g, b, t, 2, n)),
    ),
    "delta_rule": Case(
        delta_rule,
        lambda g, b, t, p, n: (*attention_inputs(g, b, t, p, n), random(g, b, t, 2).sigmoid()),
        decays=False,
    ),
    "gated_delta_rule": Case(
        lambda q, k, v, beta, log_a, **o: delta_rule(q, k, v, beta, log_a=log_a, **o),
        lambda g, b, t, p, n: (
            *attention_inputs(g, b, t, p, n),
            random(g, b, t, 2).sigmoid(),
            decay(g, b, t, 2),
        ),
    ),
}
each_kernel = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_decaying_kernel = pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.decays],
    ids=[name for name, case in CASES.items() if case.decays],
)


def assert_same(actual, expected, bound=1e-12):
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        if e.numel():  # a row of length 0 has no outputs
            assert (a - e).abs().max() <= bound * max(1, e.abs().max())


def with_gradients(case, inputs, state, **options):
    """Return y and the last state, and the gradients of a weighted sum of both."""
    leaves = [z.detach().clone().requires_grad_() for z in (*inputs, state)]
    y, last = case.run(*leaves[:-1], state=leaves[-1], **options)
    generator = torch.Generator().manual_seed(5)
    loss = (y * random(generator, *y.shape)).sum() + (last * random(generator, *last.shape)).sum()
    return (y, last), torch.autograd.grad(loss, leaves)


@each_kernel
def test_gradients_and_gradients_of_gradients_across_chunks(case):
    leaves = [z.requires_grad_() for z in (*case.inputs(2, 4, 1, 2), case.state(2, 1, 2))]

    def run(*leaves):
        return case.run(*leaves[:-1], state=leaves[-1], chunk=2, lengths=torch.tensor([4, 3]))

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@each_kernel
def test_float32_agrees_with_float64_over_a_thousand_steps(case):
    inputs, state = case.inputs(1, 1000, 16, 16), case.state(1, 16, 16)
    single = [z.float() for z in inputs]
    assert_same(case.run(*single, state=state.float()), case.run(*inputs, state=state), 1e-5)


@each_kernel
@pytest.mark.parametrize("backend", ["reference", "fast"])
def test_rows_that_end_in_different_chunks_equal_the_rows_alone(case, backend):
    inputs, state = case.inputs(4, 70), case.state(4)
    lengths = torch.tensor([70, 66, 1, 0])
    for z in inputs:
        for row, length in enumerate(lengths.tolist()):
            z[row, length:] = torch.nan
    leaves = [z.requires_grad_() for z in inputs]
    y, last = case.run(*leaves, state=state, lengths=lengths, backend=backend)
    gradients = torch.autograd.grad(y.square().sum() + last.square().sum(), leaves)
    for row, length in enumerate(lengths.tolist()):
        alone = [z.detach()[row : row + 1, :length] for z in leaves]
        expected = case.run(*alone, state=state[row : row + 1], backend=backend)
        assert_same((y[row : row + 1, :length], last[row : row + 1]), expected)
        assert not y[row, length:].any()
        assert all(g[row, :length].isfinite().all() for g in gradients)
        assert not any(g[row, length:].any() for g in gradients)
    assert torch.equal(last[3], state[3])


@each_kernel
def test_a_gradient_that_is_nan_in_the_padding_reaches_nothing(case):
    leaves = [z.requires_grad_() for z in (*case.inputs(2, 5), case.state(2))]
    y, _ = case.run(*leaves[:-1], state=leaves[-1], lengths=torch.tensor([3, 0]))
    gradient = torch.full_like(y, torch.nan)
    gradient[0, :3] = 1
    found = torch.autograd.grad(y, leaves, gradient)
    assert all(g.isfinite().all() for g in found)
    assert not any(g[1].any() for g in found)


@each_decaying_kernel
@pytest.mark.parametrize("strength", [-100.0, -1e4, -torch.inf])
def test_strong_decays_among_weak_ones_are_exact(case, strength):
    inputs, state = case.inputs(1, 130), case.state(1)
    inputs[-1][:, ::7] = strength
    outputs, gradients = with_gradients(case, inputs, state)
    expected, expected_gradients = with_gradients(case, inputs, state, backend="reference")
    assert_same(outputs, expected)
    assert_same(gradients, expected_gradients)
    assert all(z.isfinite().all() for z in (*outputs, *gradients))
    single, _ = with_gradients(case, [z.float() for z in inputs], state.float())
    assert_same(single, expected, 1e-5)


@each_decaying_kernel
def test_only_infinite_decays_leave_the_current_step_alone(case):
    inputs = case.inputs(1, 130)
    inputs[-1][:] = -torch.inf
    y, _ = case.run(*inputs, state=case.state(1))
    for t in (0, 64, 129):
        alone, _ = case.run(*(z[:, t : t + 1] for z in inputs))
        assert_same((y[:, t : t + 1],), (alone,))


@each_decaying_kernel
def test_the_logarithm_of_a_slow_decay_may_be_rounded_to_bfloat16(case):
    inputs = case.inputs(1, 1000, 8, 8)
    inputs[-1][:] = torch.tensor(0.999).log()
    half = [z.bfloat16() for z in inputs]
    y, last = case.run(*half)
    assert y.dtype == torch.bfloat16
    assert last.dtype == torch.float32
    expected, expected_last = case.run(
        *(z.double() for z in half[:-1]), inputs[-1], backend="reference"
    )
    assert_same((y, last), (expected, expected_last), 1e-2)


@each_kernel
def test_autocast_does_not_lower_the_precision(case):
    inputs = [z.float() for z in case.inputs(1, 70)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = case.run(*inputs)
    assert all(torch.equal(a, e) for a, e in zip(inside, case.run(*inputs), strict=True))


@each_kernel
def test_wrong_states_lengths_and_chunks_are_named(case):
    inputs = case.inputs(2, 4)
    with pytest.raises(ValueError, match=r"state must be \(B, H, P, N\) = \(2, 2, 5, 3\)"):
        case.run(*inputs, state=case.state(1))
    with pytest.raises(ValueError, match="lengths must be"):
        case.run(*inputs, lengths=torch.tensor([1]))
    with pytest.raises(ValueError, match="lengths must be integers"):
        case.run(*inputs, lengths=torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="chunk must be at least 1, not 0"):
        case.run(*inputs, chunk=0)
