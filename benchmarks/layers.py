"""How the time of each layer grows with T on one thread of a CPU, beside softmax attention.

    uv run python benchmarks/layers.py --plot docs/layers.svg

Times are CPU milliseconds of one forward pass, the minimum over repeats that take turns.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from recurra.core.layers import (
    RNN,
    DenseFsmn,
    Fsmn,
    GatedAttention,
    GatedDeltaNet,
    GatedFsmn,
    Mamba2,
    NGramHead,
    PrefixAttention,
    RotaryEmbedding,
    SwiGLU,
)
from timing import cpu_seconds

WIDTH = 64
STEPS = [64, 256, 1024, 4096]
SOFTMAX = "softmax attention, causal (torch)"
Run = Callable[[], object]


class SoftmaxAttention(nn.Module):
    """Causal self-attention by torch's own product, 4 heads, as the peer."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend over x (B, T, C)."""
        heads = self.inside(x).unflatten(-1, (3, 4, WIDTH // 4)).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(*heads.contiguous(), is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))


LAYERS = {
    SOFTMAX: SoftmaxAttention(),
    "GatedAttention": GatedAttention(WIDTH, d_key=32, rotary_dim=16),
    "GatedAttention, causal": GatedAttention(WIDTH, d_key=32, rotary_dim=16, causal=True),
    "GatedDeltaNet": GatedDeltaNet(WIDTH, heads=2, head_width=32),
    "Mamba2": Mamba2(WIDTH, d_state=64, head_width=32),
    "RNN, lstm": RNN(WIDTH, WIDTH),
    "RNN, slstm, 4 heads": RNN(WIDTH, WIDTH, cell="slstm", n_heads=4),
    "GatedFsmn": GatedFsmn(WIDTH, WIDTH // 2),
    "DenseFsmn": DenseFsmn(WIDTH),
    "Fsmn": Fsmn(WIDTH),
    "PrefixAttention": PrefixAttention(WIDTH, n_heads=4),
    "NGramHead": NGramHead(WIDTH, n=2, slots=1024),
    "SwiGLU": SwiGLU(WIDTH, 3 * WIDTH),
    "RotaryEmbedding": RotaryEmbedding(WIDTH // 2),
}


def main() -> None:
    """Print the table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="draw the table into this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    print(f"x (1, T, {WIDTH}), float32, forward, ms, minimum of {args.repeats} or more")
    print(f"{'T':34}" + "".join(f"{steps:>9}" for steps in STEPS))
    # Short rows take milliseconds, in which noise shows: they get more repeats.
    columns = [measured(steps, args.repeats * max(1, 1024 // steps)) for steps in STEPS]
    rows = {name: [column[name] for column in columns] for name in LAYERS}
    for name, row in rows.items():
        print(f"{name:34}" + "".join(f"{ms:9.2f}" for ms in row))
    if args.plot is not None:
        draw(rows, args.plot)


def measured(steps: int, repeats: int) -> dict[str, float]:
    """Return the milliseconds of each layer over `steps` steps."""
    x = torch.randn(1, steps, WIDTH)
    tokens = torch.randint(1000, (1, steps))

    def run(layer: nn.Module) -> Run:
        given = (x, tokens) if isinstance(layer, NGramHead) else (x,)
        return lambda: layer.eval()(*given)

    with torch.inference_mode():
        samples = cpu_seconds({name: run(layer) for name, layer in LAYERS.items()}, repeats)
    return {name: 1e3 * min(each) for name, each in samples.items()}


def draw(rows: dict[str, list[float]], path: Path) -> None:
    """Draw time against T, each line named at its end."""
    import matplotlib

    matplotlib.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "layers", "svg.fonttype": "none", "font.size": 9})
    figure, axes = pyplot.subplots(figsize=(7.5, 5), layout="constrained")
    for index, (name, row) in enumerate(sorted(rows.items(), key=lambda item: -item[1][-1])):
        style = {"color": "black", "linewidth": 2} if name == SOFTMAX else {"color": f"C{index}"}
        line = ["-", "--", ":"][index % 3]
        axes.plot(STEPS, row, line, marker="o", markersize=3, label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="T, steps", ylabel="CPU ms, forward, one thread")
    axes.set_xticks(STEPS, [str(steps) for steps in STEPS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
