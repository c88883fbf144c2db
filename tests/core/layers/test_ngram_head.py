from collections import defaultdict

import pytest
import torch
from torch.nn import functional

from recurra.core.layers import NGramHead, as_matrix


def head(width, n, slots):
    """A head that gives the mean of what followed, and nothing of x itself."""
    layer = NGramHead(width, n, slots=slots).double()
    with torch.no_grad():
        layer.skip.weight.zero_()
        layer.follow.weight.copy_(torch.eye(width))
    return layer


@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_hot_tokens_give_the_counts_of_a_dictionary(n):
    tokens = torch.randint(4, (1, 60), generator=torch.Generator().manual_seed(n))
    y, _ = head(4, n, slots=64)(functional.one_hot(tokens, 4).double(), tokens)
    row, counts = tokens[0].tolist(), defaultdict(lambda: torch.zeros(4, dtype=torch.float64))
    for t in range(60):
        if t >= n:
            counts[tuple(row[t - n : t])][row[t]] += 1
        seen = counts[tuple(row[t - n + 1 : t + 1])] if t + 1 >= n else torch.zeros(4)
        torch.testing.assert_close(y[0, t], seen.double() / max(1, seen.sum()), rtol=0, atol=1e-12)


def test_its_matrix_marks_the_steps_after_matches():
    tokens = torch.tensor([[7, 9, 7, 7, 9]])
    matrix = as_matrix(head(1, 1, slots=8), torch.ones(1, 5, 1, dtype=torch.float64), tokens)
    assert matrix.squeeze().tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],  # 7 was followed by step 1
        [0, 0.5, 0, 0.5, 0],  # and, being followed by 7, by this step itself
        [0, 0, 1, 0, 0],
    ]


def test_contexts_beyond_the_slots_are_not_remembered():
    tokens = torch.tensor([[1, 2, 3, 1, 2, 3, 1]])
    x = torch.arange(7.0).double().reshape(1, 7, 1)
    y, state = head(1, 1, slots=2)(x, tokens)
    assert y.flatten().tolist() == [0, 0, 0, 1, 2, 0, 2.5]
    assert state["used"].tolist() == [2]
    assert state["tags"].tolist() == [[1, 2]]


def test_tokens_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"tokens must be \(B, T\) = \(1, 3\) integers"):
        NGramHead(2)(torch.zeros(1, 3, 2), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least 1"):
        NGramHead(2, 0)
