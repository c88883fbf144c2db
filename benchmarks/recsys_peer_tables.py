"""Tables and the picture of recsys_peers.py."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from recurra.core.cli import print_table

PEER = "RecTools BERT4Rec"
OURS = "Recurra BERT4Rec"
COLORS = {
    "Recurra BERT4Rec": "#2a6fb0",
    "Recurra SASRec": "#6fb1e0",
    "RecTools BERT4Rec": "#c1443c",
    "RecTools SASRec": "#e29a5b",
    "RecBole BERT4Rec": "#8a5fa8",
    "RePlay BERT4Rec": "#5a9a5a",
}


@dataclass(frozen=True)
class Point:
    """A model after some CPU seconds of training: NDCG@10 on validation and test."""

    cpu_seconds: float
    valid: float
    test: float


@dataclass(frozen=True)
class Run:
    """A training of a system."""

    system: str
    seed: int
    points: list[Point]

    @classmethod
    def from_json(cls, line: str) -> "Run":
        """Read a line of records."""
        found = json.loads(line)
        return cls(found["system"], found["seed"], [Point(**point) for point in found["points"]])

    def to_json(self) -> str:
        """A line of records."""
        return json.dumps(asdict(self))

    @property
    def best(self) -> Point:
        """The model that the validation chooses."""
        return max(self.points, key=lambda point: point.valid)

    def seconds_to(self, valid: float) -> float | None:
        """CPU seconds until the validation is that good; None: it never was."""
        return next((p.cpu_seconds for p in self.points if p.valid >= valid), None)


def print_speeds(title: str, speeds: dict[str, dict[str, float]]) -> None:
    """Users a CPU second, and ours over the fastest of the peer's."""
    rows: list[list[object]] = []
    for work, found in speeds.items():
        peer = max(value for name, value in found.items() if name.startswith("RecTools"))
        for name, value in found.items():
            ratio = "" if name.startswith("RecTools") else f"{value / peer:.2f}"
            rows.append([work, name, f"{value:.0f}", ratio])
    print_table(rows, ["", "", "users / CPU s", "ratio to the fastest"], title=title)


def print_runs(runs: Sequence[Run]) -> None:
    """The best model of each, and how soon ours is as good as the peer's."""
    rows = [
        [
            run.system,
            run.seed,
            f"{run.best.valid:.4f}",
            f"{run.best.test:.4f}",
            f"{run.best.cpu_seconds:.1f}",
            f"{run.points[-1].cpu_seconds:.1f}",
        ]
        for run in sorted(runs, key=lambda run: (run.system, run.seed))
    ]
    heads = ["", "seed", "valid NDCG@10", "test NDCG@10", "CPU s there", "CPU s in all"]
    print_table(rows, heads)
    peers = {run.seed: run for run in runs if run.system == PEER}
    ours = {run.seed: run for run in runs if run.system == OURS}
    shares, rows = [], []
    for seed in sorted(peers.keys() & ours.keys()):
        best = peers[seed].best
        taken = ours[seed].seconds_to(best.valid)
        shares.append(float("inf") if taken is None else taken / best.cpu_seconds)
        said = "never" if taken is None else f"{taken:.1f}"
        share = f"{shares[-1]:.2f}"
        rows.append([seed, f"{best.valid:.4f}", f"{best.cpu_seconds:.1f}", said, share])
    if rows:
        print_table(rows, ["seed", f"best valid of {PEER}", "CPU s", "CPU s of ours", "share"])
        print(f"median share: {median(shares):.2f}")


def plot_runs(runs: Sequence[Run], path: Path) -> None:
    """Draw NDCG@10 of the validation over CPU seconds; a rule that is fitted at once is a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    named = set()
    for run in runs:
        label = None if run.system in named else run.system
        named.add(run.system)
        if len(run.points) == 1:
            axes.axhline(run.best.valid, color="#555555", linestyle="--", linewidth=1, label=label)
            continue
        seconds = [point.cpu_seconds for point in run.points]
        values = [point.valid for point in run.points]
        color = COLORS.get(run.system)
        axes.plot(seconds, values, color=color, marker=".", linewidth=1.2, label=label)
    axes.set_xlabel("CPU seconds of training, one thread")
    axes.set_ylabel("NDCG@10 on the validation events")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path)
