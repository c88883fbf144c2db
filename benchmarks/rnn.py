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

STEPS, WIDTH = 256, 256  # T and C, and as many hidden units


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=16, help="B")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    layers = {
        "nn.LSTM": nn.LSTM(WIDTH, WIDTH, batch_first=True),
        "RNN, one head": RNN(WIDTH, WIDTH),
        "RNN, 4 heads": RNN(WIDTH, WIDTH, n_heads=4),
        "RNN, peephole": RNN(WIDTH, WIDTH, peephole=True),
        "nn.GRU": nn.GRU(WIDTH, WIDTH, batch_first=True),
        "RNN, gru, 4 heads": RNN(WIDTH, WIDTH, cell="gru", n_heads=4),
        "RNN, slstm, 4 heads": RNN(WIDTH, WIDTH, cell="slstm", n_heads=4),
    }
    x = torch.randn(args.rows, STEPS, WIDTH)
    print(f"x {tuple(x.shape)}, {WIDTH} hidden units, float32, minimum of {args.repeats}")
    print(f"{'':22}{'forward ms':>11} {'':6} {'forward + backward ms':>22}")
    both = []
    for backward in (False, True):
        steps = {name: layer_step(layer, x, backward) for name, layer in layers.items()}
        samples = cpu_seconds(steps, args.repeats)
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
