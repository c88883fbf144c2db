from importlib import import_module
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from recurra.core.kernels import flashrnn
from recurra.core.kernels.flashrnn import CELLS

VECTORS = sorted((Path(__file__).parent / "vectors/flashrnn").glob("*.safetensors"))
ALL_CELLS = sorted(CELLS)


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def problem(cell, rows=3, steps=6, heads=2, width=4, dtype=torch.float64, peephole=False):
    """Random arguments of one cell, from a running state."""
    kind = CELLS[cell]
    states = random(rows, len(kind.states), heads, width, dtype=dtype, seed=3)
    if cell == "slstm":
        states[:, 2] = states[:, 2].abs() + 1  # n of a running cell is at least 1
    arguments = {
        "wx": random(rows, steps, kind.n_input, heads, width, dtype=dtype),
        "r": 0.5 * random(kind.n_recurrent, heads, width, width, dtype=dtype, seed=1),
        "b": random(kind.n_gates, heads, width, dtype=dtype, seed=2),
        "states": states,
    }
    if peephole:
        arguments["peephole"] = random(3, heads, width, dtype=dtype, seed=4)
    return arguments


def gradients(arguments, autocast=False, **options):
    """Outputs and gradients of a random linear loss of everything that is returned."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in arguments.items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        results = flashrnn(**leaves, **options)
    loss = sum((y * random(*y.shape, dtype=y.dtype, seed=9)).sum() for y in results)
    found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return [*results, *found]


def assert_near(found, expected, bound=1e-12):
    for a, b in zip(found, expected, strict=True):
        largest = b.abs().max().item() if b.numel() else 0
        torch.testing.assert_close(a, b, rtol=0, atol=bound * max(1, largest))


# Recorded numbers


@pytest.mark.parametrize("backend", ["reference", "fast"])
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_states_and_gradients_are_those_of_flashrnn(path, backend):
    vector = load_file(path)
    cell = path.stem.split("_")[0]
    wx, r, b = (vector[name].requires_grad_() for name in ("Wx", "R", "b"))
    start = vector["s0"].squeeze(2).transpose(0, 1).clone().requires_grad_()
    y, last = flashrnn(wx, r, b, start, cell=cell, all_states=True, backend=backend)
    states, last = y.permute(2, 0, 1, 3, 4), last.transpose(0, 1).unsqueeze(2)
    loss = (vector["ws"] * states).sum() + (vector["wl"] * last).sum()
    g_wx, g_r, g_b, g_start = torch.autograd.grad(loss, [wx, r, b, start])
    expected = vector["gs0"].clone()
    if cell == "slstm" and not vector["s0"][2].any():
        expected[1:3] = 0  # a fresh cell has no past: see vectors/flashrnn/README.md
    bound = 1e-13 if wx.dtype == torch.float64 else 2e-6
    found = [states, last, g_wx, g_r, g_b, g_start.transpose(0, 1).unsqueeze(2)]
    names = ["states", "last", "gWx", "gR", "gb"]
    assert_near(found, [*(vector[name] for name in names), expected], bound)


def test_all_recorded_cases_are_here():
    assert len(VECTORS) == 22


# The fast form


@settings(deadline=None, max_examples=40)
@given(
    cell=st.sampled_from(ALL_CELLS),
    rows=st.integers(0, 3),
    steps=st.integers(0, 9),
    heads=st.integers(1, 3),
    width=st.sampled_from([1, 5, 8]),
    flags=st.tuples(*[st.booleans()] * 4),
    data=st.data(),
)
def test_fast_equals_reference(cell, rows, steps, heads, width, flags, data):
    peephole, reverse, all_states, has_lengths = flags
    arguments = problem(cell, rows, steps, heads, width, peephole=peephole and cell == "lstm")
    options = {"cell": cell, "reverse": reverse, "all_states": all_states}
    if has_lengths:
        lengths = st.lists(st.integers(0, steps), min_size=rows, max_size=rows)
        options["lengths"] = torch.tensor(data.draw(lengths), dtype=torch.int64)
    expected = gradients(arguments, **options, backend="reference")
    assert_near(gradients(arguments, **options, backend="fast"), expected)
    shape = (rows, steps, len(CELLS[cell].states), heads, width)
    assert expected[0].shape == (shape if all_states else shape[:2] + shape[3:])


@pytest.mark.parametrize("cell", ALL_CELLS)
def test_a_backward_pass_of_several_pieces_equals_the_reference(cell, monkeypatch):
    fast = import_module("recurra.core.kernels.flashrnn.fast")
    monkeypatch.setattr(fast, "_CACHED", 3 * 3 * 2 * 4 * 4)
    arguments = problem(cell, steps=11)
    for reverse in (False, True):
        options = {"cell": cell, "reverse": reverse, "lengths": torch.tensor([11, 0, 5])}
        expected = gradients(arguments, **options, backend="reference")
        assert_near(gradients(arguments, **options, backend="fast"), expected)


@pytest.mark.parametrize("cell", ALL_CELLS)
@pytest.mark.parametrize("width", [24, 72, 100])
def test_any_head_width(cell, width):
    arguments = problem(cell, rows=2, steps=3, heads=2, width=width)
    arguments["r"] /= width**0.5
    expected = gradients(arguments, cell=cell, backend="reference")
    assert_near(gradients(arguments, cell=cell, backend="fast"), expected)


@pytest.mark.parametrize("cell", ALL_CELLS)
@pytest.mark.parametrize("lengths", [None, [3, 0]])
def test_gradients_once_and_twice(cell, lengths):
    arguments = problem(cell, rows=2, steps=3, heads=2, width=2, peephole=cell == "lstm")
    lengths = None if lengths is None else torch.tensor(lengths)

    def run(*values):
        named = dict(zip(arguments, values, strict=True))
        return flashrnn(**named, cell=cell, lengths=lengths, all_states=True, backend="fast")

    leaves = [value.requires_grad_() for value in arguments.values()]
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


def test_second_derivatives_where_one_argument_depends_on_another():
    arguments = problem("lstm", rows=1, steps=2, heads=1, width=2)
    arguments.pop("wx")

    def run(r, b, states):
        wx = torch.stack([r.sum(-1).transpose(0, 1).reshape(4, 1, 2)] * 2)[None]
        return flashrnn(wx, r, b, states, cell="lstm", backend="fast")[0]

    assert torch.autograd.gradgradcheck(run, [x.requires_grad_() for x in arguments.values()])


@pytest.mark.parametrize("cell", ALL_CELLS)
def test_repeats_are_equal_to_the_bit_and_arguments_are_not_changed(cell):
    arguments = problem(cell, dtype=torch.float32)
    kept = {name: value.clone() for name, value in arguments.items()}
    first, second = gradients(arguments, cell=cell), gradients(arguments, cell=cell)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(arguments[name], kept[name]) for name in kept)


def test_the_gradient_that_comes_in_is_not_changed():
    arguments = {name: x.requires_grad_() for name, x in problem("elman", rows=1).items()}
    _, last = flashrnn(**arguments, cell="elman")
    incoming = torch.ones_like(last)
    last.backward(incoming)
    assert torch.equal(incoming, torch.ones_like(last))


def test_a_gradient_through_an_output_changed_in_place_is_refused():
    arguments = {name: x.requires_grad_() for name, x in problem("lstm").items()}
    y, _ = flashrnn(**arguments, cell="lstm")
    with torch.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="has been modified inplace"):
        y.sum().backward()


def test_expanded_and_transposed_arguments_equal_contiguous_ones():
    wx = random(1, 4, 4, 5, 3).expand(2, 4, 4, 5, 3).transpose(3, 4)  # H 3, D 5
    r = random(4, 3, 5, 5, seed=1).transpose(2, 3)
    arguments = {"wx": wx, "r": r, "b": random(4, 3, seed=2)[..., None].expand(4, 3, 5)}
    plain = {name: value.contiguous() for name, value in arguments.items()}
    found, expected = flashrnn(**arguments, cell="lstm"), flashrnn(**plain, cell="lstm")
    assert_near(found, expected)


# Rows, chunks, lengths


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_steps_and_chunks_equal_whole(cell, chunk, reverse):
    arguments = problem(cell, steps=13)
    whole, last = flashrnn(**arguments, cell=cell, reverse=reverse)
    pieces = list(arguments["wx"].split(chunk, dim=1))
    state, outputs = arguments["states"], []
    for piece in reversed(pieces) if reverse else pieces:
        arguments |= {"wx": piece, "states": state}
        y, state = flashrnn(**arguments, cell=cell, reverse=reverse)
        outputs.append(y)
    outputs = outputs[::-1] if reverse else outputs
    assert_near([torch.cat(outputs, dim=1), state], [whole, last])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_a_padded_row_equals_the_row_alone_whatever_the_padding_holds(cell, reverse):
    arguments = problem(cell, rows=4)
    lengths = torch.tensor([6, 3, 1, 0])
    padding = torch.arange(6) >= lengths[:, None]
    arguments["wx"][padding] = torch.nan
    leaves = {name: value.requires_grad_() for name, value in arguments.items()}
    y, last = flashrnn(**leaves, cell=cell, lengths=lengths, reverse=reverse)
    for row, length in enumerate(lengths.tolist()):
        solo = dict(leaves, wx=leaves["wx"][row : row + 1, :length])
        solo["states"] = leaves["states"][row : row + 1]
        alone, alone_last = flashrnn(**solo, cell=cell, reverse=reverse)
        assert_near([y[row : row + 1, :length], last[row : row + 1]], [alone, alone_last])
    assert not y[padding].any()
    assert torch.equal(last[3], arguments["states"][3])
    (y.sum() + 2 * last.sum()).backward()
    assert all(value.grad.isfinite().all() for value in leaves.values())
    assert not leaves["wx"].grad[padding].any()
    assert (leaves["states"].grad[3] == 2).all()


# What FlashRNN 1.0.8 has wrong


@pytest.mark.parametrize("backend", ["reference", "fast"])
def test_a_closed_input_gate_at_the_first_slstm_step_leaves_finite_numbers(backend):
    wx = torch.zeros(1, 3, 4, 1, 2)
    wx[:, 0, 0] = -100.0
    wx[:, :, 2] = 0.5
    leaves = [x.requires_grad_() for x in (wx, torch.zeros(4, 1, 2, 2), torch.zeros(4, 1, 2))]
    start = torch.zeros(1, 4, 1, 2, requires_grad=True)
    y, last = flashrnn(*leaves, start, cell="slstm", backend=backend, all_states=True)
    # i' = 1, f' = 0: c = tanh(0.5), n = 1, m = -100, h = sigmoid(0) c
    c = torch.tensor(0.5).tanh().item()
    expected = torch.tensor([c / 2, c, 1.0, -100.0])[:, None, None].expand(4, 1, 2)
    torch.testing.assert_close(y[0, 0], expected)
    (y.sum() + last.sum()).backward()
    assert all(x.grad.isfinite().all() for x in [*leaves, start])


@pytest.mark.parametrize("backend", ["reference", "fast"])
def test_a_fresh_slstm_row_beside_a_running_one_equals_the_row_alone(backend):
    arguments = problem("slstm", rows=2)
    arguments["states"][0] = 0
    together = flashrnn(**arguments, cell="slstm", backend=backend)
    for row in range(2):
        solo = dict(arguments, wx=arguments["wx"][row : row + 1])
        solo["states"] = arguments["states"][row : row + 1]
        alone = flashrnn(**solo, cell="slstm", backend=backend)
        assert_near(alone, [result[row : row + 1] for result in together])


@pytest.mark.parametrize("size", [-100.0, -50.0, 50.0, 100.0, 1000.0])
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_large_inputs_leave_finite_numbers(cell, size):
    arguments = problem(cell, dtype=torch.float32)
    arguments["wx"] = torch.full_like(arguments["wx"], size)
    for backend in ("reference", "fast"):
        results = gradients(arguments, cell=cell, backend=backend)
        assert all(result.isfinite().all() for result in results)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", ALL_CELLS)
def test_the_state_of_half_precision_inputs_is_float32(cell, dtype):
    arguments = problem(cell, steps=200, dtype=torch.float32)
    arguments["b"] /= 4
    half = {name: value.to(dtype) for name, value in arguments.items() if name != "states"}
    y, last = flashrnn(**half, cell=cell)
    exact, exact_last = flashrnn(**{name: x.double() for name, x in half.items()}, cell=cell)
    assert (y.dtype, last.dtype) == (dtype, torch.float32)
    assert_near([last.double()], [exact_last], 1e-5)
    assert_near([y.double()], [exact], torch.finfo(dtype).eps)
    assert gradients(half, cell=cell)[2].dtype == dtype


@pytest.mark.parametrize("cell", ALL_CELLS)
def test_autocast_does_not_lower_the_precision_of_the_state(cell):
    arguments = problem(cell, dtype=torch.float32)
    for backend in ("reference", "fast"):
        options = {"cell": cell, "backend": backend}
        expected = gradients(arguments, **options)
        assert_near(gradients(arguments, autocast=True, **options), expected, 0)


# Peepholes, errors


@pytest.mark.parametrize("backend", ["reference", "fast"])
def test_peepholes_worked_by_hand(backend):
    # One unit, no recurrence, from c = 2: i and f see c before the step, o the c after it.
    gates = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    peephole = torch.tensor([0.5, -0.6, 0.7], dtype=torch.float64)
    start = torch.tensor([0.0, 2.0], dtype=torch.float64)
    y, last = flashrnn(
        gates.view(1, 1, 4, 1, 1),
        torch.zeros(4, 1, 1, 1, dtype=torch.float64),
        torch.zeros(4, 1, 1, dtype=torch.float64),
        start.view(1, 2, 1, 1),
        cell="lstm",
        peephole=peephole.view(3, 1, 1),
        backend=backend,
    )
    i, f = torch.sigmoid(gates[0] + 1.0), torch.sigmoid(gates[1] - 1.2)
    c = f * 2 + i * torch.tanh(gates[2])
    h = torch.sigmoid(gates[3] + 0.7 * c) * torch.tanh(c)
    torch.testing.assert_close(last.flatten(), torch.stack([h, c]), rtol=0, atol=1e-15)
    torch.testing.assert_close(y.flatten(), h[None], rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "mgu"}, "cell must be one of lstm, gru, slstm, elman, not 'mgu'"),
        ({"wx": random(3, 6, 3, 2, 4)}, r"wx must be \(B, T, 4, H, D\) for lstm"),
        ({"r": random(4, 2, 4, 3)}, r"r must be \(4, 2, 4, 4\) for wx"),
        ({"states": random(3, 1, 2, 4)}, r"states must be \(3, 2, 2, 4\)"),
        ({"lengths": torch.tensor([1, 2])}, r"lengths must be \(B,\) = \(3,\)"),
        ({"lengths": torch.ones(3)}, "lengths must be integers, not torch.float32"),
        ({"cell": "slstm", "peephole": random(3, 2, 4)}, "only the lstm has peepholes"),
        ({"wx": random(3, 6, 4, 2, 4).float()}, "r is float64 and wx is torch.float32"),
        ({"wx": torch.ones(3, 6, 4, 2, 4, dtype=torch.int64)}, "wx must be floating"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        flashrnn(**{**problem("lstm"), "cell": "lstm", **changes})
