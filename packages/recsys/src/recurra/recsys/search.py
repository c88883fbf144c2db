"""What `tune` tries: values drawn from a small grid, the better third of them for longer."""

from collections.abc import Mapping, Sequence

import numpy as np

# Few values, each of which some log wants: see the papers' grids (Sun et al. 2019, section 4.3;
# Klenitskiy and Vasilev 2023, section 3; Tikhonovich et al. 2025).
LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
DROPOUTS = (0.1, 0.2, 0.3, 0.5)
LAYERS = (1, 2, 3)
WIDTHS = (32, 64, 128)
LENGTHS = (25, 50, 100, 200)
MASK_SHARES = (0.1, 0.2, 0.4, 0.6)
KEPT = 3  # one of so many tries goes on, for so many times as long


def space_of(model: str, longest: int) -> dict[str, tuple[float, ...]]:
    """The values of each setting.

    Args:
        model: "bert4rec" or "sasrec"; masks are the former's.
        longest: events of the longest history; networks see no more than the first length above.
    """
    enough = next((length for length in LENGTHS if length > longest), LENGTHS[-1])
    space: dict[str, tuple[float, ...]] = {
        "learning_rate": LEARNING_RATES,
        "network.dropout": DROPOUTS,
        "network.n_layers": LAYERS,
        "network.d_model": WIDTHS,
        "network.max_len": tuple(length for length in LENGTHS if length <= enough),
    }
    return space | ({"cloze.mask_share": MASK_SHARES} if model == "bert4rec" else {})


def draw_tries(
    space: Mapping[str, Sequence[float]], count: int, seed: int, fixed: Sequence[str] = ()
) -> list[tuple[str, ...]]:
    """Draw different settings; the first try has none, which is the recipe as it is.

    Args:
        space: see `space_of`.
        count: how many; fewer where the space has not as many.
        seed: of what is drawn.
        fixed: words that every try has, whose settings are not drawn.

    Returns:
        for each try the words that `train` takes, such as "network.d_model=32", `fixed` last.
    """
    given = {word.partition("=")[0] for word in fixed}
    free = {name: values for name, values in space.items() if name not in given}
    rng = np.random.default_rng(seed)
    tries = {tuple(fixed): None}  # a set that keeps its order
    most = 1 + (int(np.prod([len(values) for values in free.values()])) if free else 0)
    while len(tries) < min(count, most):
        drawn = [f"{name}={values[rng.integers(len(values))]}" for name, values in free.items()]
        tries[(*drawn, *fixed)] = None
    return list(tries)


def halve(count: int, epochs: int) -> list[tuple[int, int]]:
    """How many tries each round has and for how many epochs: a third, for three times as long.

    Source: successive halving, Jamieson and Talwalkar 2016 (arXiv 1502.07943), with 3 for 2 as in
    Hyperband (Li et al. 2018, arXiv 1603.06560). A round begins anew and does not go on with the
    weights of the one before: its learning rate falls over all of its epochs.

    Args:
        count: tries of the first round.
        epochs: of the last round, which has one try.
    """
    counts = [count]
    while counts[-1] > 1:
        counts.append(-(-counts[-1] // KEPT))
    last = len(counts) - 1
    return [(n, -(-epochs // KEPT ** (last - place))) for place, n in enumerate(counts)]
