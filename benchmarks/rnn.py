"""How fast the recurrent layers are on one thread of a CPU, against torch's own.

    uv run python benchmarks/rnn.py

Times are CPU milliseconds, the minimum over repeats that take turns.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from recurra.core.layers import RNN
from timing import cpu_seconds

RNN_SHAPE = (16, 256, 256)  # (B, T, C), and as many hidden units


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    width = RNN_SHAPE[2]
    layers = {
        "nn.LSTM": nn.LSTM(width, width, batch_first=True),
        "RNN, one head": RNN(width, width),
        "RNN, 4 heads": RNN(width, width, n_heads=4),
        "RNN, peephole": RNN(width, width, peephole=True),
        "nn.GRU": nn.GRU(width, width, batch_first=True),
        "RNN, gru, 4 heads": RNN(width, width, cell="gru", n_heads=4),
        "RNN, slstm, 4 heads": RNN(width, width, cell="slstm", n_heads=4),
    }
    x = torch.randn(RNN_SHAPE)
    print(f"x {RNN_SHAPE}, {width} hidden units, float32, minimum of {repeats}")
    print(f"{'':22}{'forward ms':>11} {'':6} {'forward + backward ms':>22}")
    both = []
    for backward in (False, True):
        steps = {name: layer_step(layer, x, backward) for name, layer in layers.items()}
        samples = cpu_seconds(steps, repeats)
        both.append({name: min(each) for name, each in samples.items()})
    for name in layers:
        cells = [f"{1e3 * s[name]:8.1f} {s[name] / s['nn.LSTM']:5.2f}x" for s in both]
        print(f"{name:24}{cells[0]} {cells[1]:>22}")


def layer_step(layer: nn.Module, x: Tensor, backward: bool) -> Callable[[], None]:
    """Return what is timed: a layer over x, or the layer with all its gradients."""

    @torch.no_grad()
    def forward() -> None:
        layer(x)

    def forward_and_backward() -> None:
        layer(x.detach().requires_grad_())[0].sum().backward()

    return forward_and_backward if backward else forward


if __name__ == "__main__":
    main()
