"""State tracking: is the number of ones so far odd? Trained on 16 steps, tried on 256.

A recurrent network keeps the answer as a state that every one turns over: what it learns on short
sequences holds on long ones. Attention averages over the past and has no such state; it can only
learn the answers at the lengths that it has seen.

Source: Merrill et al. 2024, "The Illusion of State in State-Space Models" (arXiv 2404.08819).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.layers import RNN, PrefixAttention

TRAINED = 16  # steps of a sequence in training
LONGEST = 256
WIDTH = 32
START = 2  # a token before the bits: with it an average can tell how long the sequence is
# Optimiser steps and learning rate of each network. The RNN has settled by then; attention goes on
# to learn more of the lengths in training, and nothing beyond them.
PLAN = {"RNN (LSTM)": (100, 1e-2), "PrefixAttention": (300, 3e-3)}


class Network(nn.Module):
    """Embed tokens, add what each layer makes of them in turn, score "even" and "odd"."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, WIDTH)
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.RMSNorm(WIDTH) for _ in layers)
        self.score = nn.Sequential(nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 2))

    def forward(self, tokens: Tensor) -> Tensor:  # (B, T) -> (B, T, 2)
        """Score the two answers at each step."""
        x = self.embed(tokens)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = layer(norm(x))
            x = x + (y[0] if isinstance(y, tuple) else y)  # the core's layers give a state too
        return self.score(x)


def make_network(name: str) -> Network:
    """Return one LSTM, or two layers of attention with an MLP after each."""
    if name.startswith("RNN"):
        return Network([RNN(WIDTH, WIDTH, cell="lstm")])
    layers: list[nn.Module] = []
    for _ in range(2):
        mlp = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH))
        layers += [PrefixAttention(WIDTH, n_heads=4), mlp]
    return Network(layers)


def draw(rows: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a start and random bits, (B, T), and whether the ones so far are odd, (B, T)."""
    tokens = torch.randint(0, 2, (rows, steps), generator=generator)
    tokens[:, 0] = START
    return tokens, (tokens == 1).cumsum(1) % 2


def train(
    network: Network, steps: int, rate: float, seed: int, advance: Callable[[], None]
) -> None:
    """Fit the network to fresh sequences with AdamW: a warm-up, then a falling rate."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1
    )
    fresh = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        tokens, answers = draw(32, TRAINED, fresh)
        loss = functional.cross_entropy(network(tokens).flatten(0, 1), answers.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        advance()


def parity(
    seeds: Sequence[int],
    plan: dict[str, tuple[int, float]] = PLAN,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Train each network of the plan from each seed and try it on 256 long sequences.

    Returns:
        (seeds, LONGEST) for each network: how often its answer at each step is right, from 0 to 1.
    """
    accuracy = {}
    for name, (steps, rate) in plan.items():
        shares = []
        for seed in seeds:
            torch.manual_seed(seed)
            network = make_network(name)
            train(network, steps, rate, seed, advance)
            tokens, answers = draw(256, LONGEST, torch.Generator().manual_seed(10_000 + seed))
            with torch.no_grad():
                right = network(tokens).argmax(-1) == answers
            shares.append(right.float().mean(0))
        accuracy[name] = torch.stack(shares)
    return accuracy
