"""What recurrences, attention and the delta rule can and cannot do, in a minute on a CPU.

    uv run python demos/what_layers_can_do.py

Prints a table and draws what_layers_can_do.png: state tracking (parity.py), recall (recall.py) and
constant memory (memory.py). All sizes are toys; the same seeds on the same machine give the same
numbers, but for the times.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memory import Kept, memory
from parity import LONGEST, PLAN, TRAINED, parity
from recall import TIMES, recall
from recurra.core.cli import print_table, progress
from recurra.core.errors import MissingExtraError, import_extra

STREAMED = 10_000  # steps
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#007a5e"  # told apart in all common colour blindness


def main() -> None:
    """Run the three parts, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_suffix(".png"))
    args = parser.parse_args()
    try:
        figures = import_extra("matplotlib.figure", extra="plot", package="recurra-speech")
    except MissingExtraError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    trained = len(args.seeds) * sum(steps for steps, _ in PLAN.values())
    with progress("parity: training", trained, "steps") as bar:
        tracked = parity(args.seeds, advance=bar.advance)
    recalled = recall(args.seeds)
    with progress("memory: streaming", STREAMED, "steps") as bar:
        marks, state, cache = memory(args.seeds[0], STREAMED, bar.advance)
    print_table(
        [*parity_rows(tracked), *recall_rows(recalled), *memory_rows(marks, state, cache)],
        ["task", "measured", "by", "near", "far"],
    )
    draw(
        figures.Figure(figsize=(12, 3.8), dpi=80, layout="constrained"),
        args.picture,
        tracked,
        recalled,
        (marks, state, cache),
    )
    print(f"wrote {args.picture}")


def parity_rows(tracked: dict[str, Tensor]) -> list[tuple[str, ...]]:
    """Answers on the steps of the training, and on the second half of the long sequences."""
    half = LONGEST // 2
    measured = f"right at steps 2-{TRAINED}, {half + 1}-{LONGEST}"
    return [
        ("parity", measured, name, spread(right[:, 1:TRAINED]), spread(right[:, half:]))
        for name, right in tracked.items()
    ]


def recall_rows(recalled: dict[str, Tensor]) -> list[tuple[str, ...]]:
    """Answers where keys were written once, and most often."""
    measured = f"right after 1, {TIMES[-1]} writes a key"
    return [
        ("recall", measured, name, spread(right[:, :1]), spread(right[:, -1:]))
        for name, right in recalled.items()
    ]


def memory_rows(marks: list[int], *ways: Kept) -> list[tuple[str, ...]]:
    """What is kept and what a step costs at the first and the last mark, and the errors."""
    at = f"at step {marks[0]:,}, {marks[-1]:,}"
    named = list(zip(("PrefixAttention", "key-value cache"), ways, strict=True))
    return [
        *(
            ("memory", f"bytes {at}", n, f"{w.n_bytes[0]:,}", f"{w.n_bytes[-1]:,}")
            for n, w in named
        ),
        *(
            ("memory", f"CPU ms a step {at}", n, f"{w.step_ms[0]:.2f}", f"{w.step_ms[-1]:.2f}")
            for n, w in named
        ),
        *(("memory", "|error| to the parallel form", n, "", f"{w.error:.0e}") for n, w in named),
    ]


def spread(right: Tensor) -> str:
    """Return the mean of each seed, (seeds, .), from the lowest to the highest."""
    means = right.mean(1)
    low, high = f"{means.min():.2f}", f"{means.max():.2f}"
    return low if low == high else f"{low} to {high}"


def draw(
    figure: Any,
    path: Path,
    tracked: dict[str, Tensor],
    recalled: dict[str, Tensor],
    streamed: tuple[list[int], Kept, Kept],
) -> None:
    """Draw a panel for each part and write the picture."""
    panels = figure.subplots(1, 3)
    draw_parity(panels[0], tracked)
    draw_recall(panels[1], recalled)
    draw_memory(panels[2], *streamed)
    for axis in panels:
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.savefig(path, metadata={"Software": None})  # the same numbers, the same file


def draw_parity(axis: Any, tracked: dict[str, Tensor]) -> None:
    """Draw the share of right answers against the step, a line a seed."""
    axis.set_title("Parity: an RNN keeps track", loc="left")
    axis.set_xscale("log", base=2)
    axis.axvspan(2, TRAINED, color="#e8e8e8", linewidth=0)
    axis.text(2.2, 0.32, "lengths in training", color="#555555")
    axis.axhline(0.5, color="#555555", linestyle=":", linewidth=1)
    axis.text(LONGEST, 0.36, "chance: 0.5", ha="right", color="#555555")
    places = (BLUE, 0.94), (ORANGE, 0.6)
    for (name, right), (color, height) in zip(tracked.items(), places, strict=True):
        for line in right:
            axis.plot(range(2, LONGEST + 1), line[1:], color=color, linewidth=0.8)
        axis.text(LONGEST, height, name, color=color, ha="right")
    axis.set(xlabel="step", ylabel="right answers, share", ylim=(0.3, 1.03))


def draw_recall(axis: Any, recalled: dict[str, Tensor]) -> None:
    """Draw the share of right answers against how often each key was written, a line a seed."""
    axis.set_title("Recall: the delta rule overwrites", loc="left")
    axis.set_xscale("log", base=2)
    places = (BLUE, 0.94), (GREEN, 0.68), (ORANGE, 0.36)
    for (name, right), (color, height) in zip(recalled.items(), places, strict=True):
        for line in right:
            axis.plot(TIMES, line, color=color, linewidth=1, marker="o", markersize=3)
        axis.text(TIMES[-1], height, name, color=color, ha="right")
    axis.set(xlabel="writes to each key", ylabel="right answers, share", ylim=(0, 1.03))


def draw_memory(axis: Any, marks: list[int], state: Kept, cache: Kept) -> None:
    """Draw the bytes that a stream keeps against the step, on a scale of powers of ten."""
    axis.set_title("Memory: one query, constant state", loc="left")
    ways = (state, "PrefixAttention", BLUE, 1.5), (cache, "key-value cache", ORANGE, 0.1)
    for way, name, color, above in ways:
        axis.plot(marks, way.n_bytes, color=color, marker="o", markersize=3)
        label = f"{name}: {way.n_bytes[-1]:,} bytes"
        axis.text(marks[-1], way.n_bytes[-1] * above, label, color=color, ha="right")
    axis.set(xlabel="step", ylabel="bytes kept", yscale="log", xlim=(0, None), ylim=(100, 3e7))


if __name__ == "__main__":
    main()
