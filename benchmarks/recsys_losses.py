"""What does exact cross-entropy over a large catalogue cost, block by block and as one matrix?

    uv run python benchmarks/recsys_losses.py --items 100000

Forward and backward at 5,120 positions, d = 64, one thread. Each way runs in a process of its own:
its memory is the most that the process held less what it held before.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.cli import print_table
from recurra.core.memory import peak_memory
from recurra.recsys.losses import linear_cross_entropy

POSITIONS, WIDTH, REPEATS = 5120, 64, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--way", choices=["whole", "blocks"], help=argparse.SUPPRESS)
    parser.add_argument("--gradients", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.way:
        print(json.dumps(measure(asked.way, asked.items, asked.gradients)))
        return
    found, gradients = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ("whole", "blocks"):
            path = Path(folder) / way
            words = ["--items", str(asked.items), "--way", way, "--gradients", str(path)]
            command = [sys.executable, __file__, *words]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[way] = json.loads(done.stdout)
            gradients[way] = torch.load(path, weights_only=True)
    rows = [(way, f"{row['seconds']:.2f}", f"{row['mb']:.0f}") for way, row in found.items()]
    print_table(rows, [f"{asked.items} items", "CPU s", "MB"])
    print(f"time: {found['blocks']['seconds'] / found['whole']['seconds']:.2f} of the whole matrix")
    for name, one, other in zip(
        ("loss", "hidden", "table", "bias"), *gradients.values(), strict=True
    ):
        error = ((one - other).abs().max() / one.abs().max()).item()
        print(f"largest difference, {name}: {error:.1e} of the largest value")


def measure(way: str, items: int, path: Path) -> dict[str, float]:
    """CPU seconds of the fastest of some repeats, and MB above what was there before."""
    torch.manual_seed(0)
    hidden, table = torch.randn(POSITIONS, WIDTH), torch.randn(items, WIDTH) / WIDTH**0.5
    bias, targets = torch.randn(items) / 8, torch.randint(items, (POSITIONS,))
    leaves = [x.requires_grad_() for x in (hidden, table, bias)]
    linear_cross_entropy(hidden[:8], table[:8], bias[:8], targets[:8] % 8).backward()
    before, seconds = peak_memory() or 0.0, []
    for _ in range(REPEATS):
        for leaf in leaves:
            leaf.grad = None
        start = time.process_time()
        loss = loss_of(way, *leaves, targets)
        loss.backward()
        seconds.append(time.process_time() - start)
    mb = ((peak_memory() or 0.0) - before) * 2**20 / 1e6
    torch.save([loss.detach(), *(leaf.grad for leaf in leaves)], path)
    return {"seconds": min(seconds), "mb": mb}


def loss_of(way: str, hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """The same loss by the whole matrix of scores, or in blocks of positions."""
    if way == "blocks":
        return linear_cross_entropy(hidden, table, bias, targets)
    return functional.cross_entropy(functional.linear(hidden, table, bias), targets)


if __name__ == "__main__":
    main()
