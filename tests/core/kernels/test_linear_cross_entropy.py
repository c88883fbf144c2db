import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from recurra.core.kernels import linear_cross_entropy
from recurra.core.kernels.linear_cross_entropy.fast import BLOCK


def draw(positions: int, items: int, width: int, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Return hidden, table and bias in float64, and targets."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (positions, width), (items, width), (items,)
    drawn = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    return drawn, torch.randint(items, (positions,), generator=generator)


def whole(hidden: Tensor, table: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    return functional.cross_entropy(functional.linear(hidden, table, bias), targets)


def with_gradients(run, given: list[Tensor], targets: Tensor, **options) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in given]
    loss = run(*leaves, targets, **options)
    return [loss.detach(), *torch.autograd.grad(3 * loss, leaves)]


def assert_near(found: list[Tensor], expected: list[Tensor], bound: float = 1e-12) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=bound, atol=bound)


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("positions", [1, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_the_loss_and_its_gradients_are_those_of_the_whole_matrix(positions, backend) -> None:
    given, targets = draw(positions, 11, 6)
    found = with_gradients(linear_cross_entropy, given, targets, backend=backend)
    assert_near(found, with_gradients(whole, given, targets))


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_without_a_bias_it_is_as_with_zeros(backend) -> None:
    (*given, _), targets = draw(7, 5, 4)

    def run(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        return linear_cross_entropy(hidden, table, None, targets, backend=backend)

    expected = with_gradients(lambda x, table, y: whole(x, table, None, y), given, targets)
    assert_near(with_gradients(run, given, targets), expected)


def test_gradients_are_slopes_and_have_slopes() -> None:
    given, targets = draw(4, 5, 3)
    leaves = [x.requires_grad_() for x in given]
    assert torch.autograd.gradcheck(lambda *x: linear_cross_entropy(*x, targets), leaves)
    assert torch.autograd.gradgradcheck(lambda *x: linear_cross_entropy(*x, targets), leaves)


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_scores_beyond_the_range_of_exp_give_finite_numbers(backend) -> None:
    given = [torch.tensor([[1000.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.zeros(2)]
    found = with_gradients(linear_cross_entropy, given, torch.tensor([1]), backend=backend)
    assert found[0] == 2000
    assert all(x.isfinite().all() for x in found)


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_a_bias_of_minus_infinity_takes_an_item_out(backend) -> None:
    given, targets = draw(7, 5, 4)
    targets %= 4
    given[2][4] = -torch.inf
    loss, hidden, table, bias = with_gradients(
        linear_cross_entropy, given, targets, backend=backend
    )
    rest = [given[0], given[1][:4], given[2][:4]]
    assert_near([loss, hidden, table[:4], bias[:4]], with_gradients(whole, rest, targets))
    assert not table[4].any()
    assert not bias[4]


def test_no_position_costs_nothing_and_moves_nothing() -> None:
    given, targets = draw(0, 5, 4)
    found = with_gradients(linear_cross_entropy, given, targets)
    assert [x.shape for x in found] == [(), (0, 4), (5, 4), (5,)]
    assert not any(x.any() for x in found)


def test_the_loss_is_the_mean_of_those_of_each_position_alone() -> None:
    given, targets = draw(BLOCK + 2, 5, 4)
    loss, of_hidden, *others = with_gradients(linear_cross_entropy, given, targets)
    alone = [
        with_gradients(linear_cross_entropy, [given[0][i : i + 1], *given[1:]], targets[i : i + 1])
        for i in range(len(targets))
    ]
    losses, rows, *sums = (torch.stack(x) for x in zip(*alone, strict=True))
    n = len(targets)
    assert_near(
        [loss, n * of_hidden, *others], [losses.mean(), rows[:, 0], *(x.mean(0) for x in sums)]
    )


def test_strides_and_offsets_do_not_matter() -> None:
    (hidden, table, bias), targets = draw(7, 5, 4)
    plain = with_gradients(linear_cross_entropy, [hidden, table, bias], targets)
    line = torch.cat([torch.full((9,), torch.nan), bias.repeat_interleave(2)])
    wide = functional.pad(table, (0, 3, 1, 2), value=torch.nan)
    odd = [hidden.t().contiguous().t(), wide[1:6, :4], line[9::2]]
    leaves = [x.detach().requires_grad_() for x in odd]
    loss = linear_cross_entropy(*leaves, targets.repeat_interleave(3)[::3])
    assert_near([loss.detach(), *torch.autograd.grad(3 * loss, leaves)], plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_16_bit_inputs_give_a_loss_in_float32_and_gradients_in_16_bits(dtype) -> None:
    given, targets = draw(300, 40, 8)
    given = [x.to(dtype) for x in given]
    found = with_gradients(linear_cross_entropy, given, targets)
    assert [x.dtype for x in found] == [torch.float32, dtype, dtype, dtype]
    exact = with_gradients(whole, [x.double() for x in given], targets)
    assert_near([found[0].double()], exact[:1], 1e-5)
    assert_near([x.double() for x in found[1:]], exact[1:], 1e-2)


def test_autocast_changes_nothing() -> None:
    given, targets = draw(7, 5, 4)
    given = [x.float() for x in given]
    expected = linear_cross_entropy(*given, targets)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear_cross_entropy(*given, targets), expected)


class Calls(TorchFunctionMode):
    """Remembers the operations, and the size of the largest tensor that one gave."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.largest = set(), 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names.add(getattr(func, "__name__", ""))
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def test_no_more_than_one_block_of_scores_is_in_memory() -> None:
    given, targets = draw(4 * BLOCK, 100, 4)
    found = []
    for backend in ("fast", "reference"):
        with Calls() as calls:
            with_gradients(linear_cross_entropy, given, targets, backend=backend)
        found.append(calls.largest)
    assert found == [BLOCK * 100, 4 * BLOCK * 100]


def test_gradients_that_nobody_asks_for_are_not_made() -> None:
    given, targets = draw(3, 5, 4)
    leaves = [x.requires_grad_() for x in given]
    for asked in (False, True):
        with torch.set_grad_enabled(asked), Calls() as calls:
            linear_cross_entropy(*leaves, targets)
        assert ("mm" in calls.names) == asked


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.ones(3)}, r"takes hidden \(M, C\) and table \(V, C\), not \(3,\) and"),
        ({"table": torch.ones(4, 5)}, r"not \(3, 2\) and \(4, 5\)"),
        ({"bias": torch.ones(3)}, r"bias must be \(V,\) = \(4,\), not \(3,\)"),
        ({"bias": torch.ones(4, dtype=torch.int64)}, "bias is torch.int64"),
        ({"targets": torch.zeros(2, dtype=torch.int64)}, r"targets must be \(M,\) = \(3,\) in"),
        ({"targets": torch.zeros(3)}, "not .* in torch.float32"),
    ],
)
def test_what_does_not_fit_is_refused(change, message) -> None:
    given = {"hidden": torch.ones(3, 2), "table": torch.ones(4, 2), "bias": torch.ones(4)}
    given["targets"] = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**given | change)


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("wrong", [4, -1])
def test_a_target_that_is_no_item_is_refused(wrong, backend) -> None:
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        linear_cross_entropy(
            torch.ones(2, 3), torch.ones(4, 3), None, torch.tensor([0, wrong]), backend=backend
        )


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("positions", "items", "width"), [(1, 1, 1), (100, 5000, 64), (700, 333, 200), (70, 90, 300)]
)
def test_on_a_gpu_it_is_the_reference(positions, items, width, dtype) -> None:
    given, targets = draw(positions, items, width)
    given = [x.to(dtype) for x in given]
    exact = with_gradients(whole, [x.double() for x in given], targets)
    found = with_gradients(linear_cross_entropy, [x.cuda() for x in given], targets.cuda())
    assert_near([x.cpu().double() for x in found[:1]], exact[:1], 1e-4)
    bound = 1e-4 if dtype == torch.float32 else 1e-2
    assert_near([x.cpu().double() for x in found[1:]], exact[1:], bound)
