"""BERT4Rec here, in RecTools, RecBole and RePlay beside each other: speed, and NDCG over time.

    uv run python benchmarks/recsys_peers.py speed ml-100k.inter
    uv run python benchmarks/recsys_peers.py learn ml-100k.inter --records peers.jsonl \
        --plot benchmarks/recsys_peers.svg

`speed` lets ours and RecTools' take turns on one thread: users who are trained in a CPU second, and
users who get a list of 10. Both have 2 layers of width 64 with 2 heads, hide a fifth of the items,
and see the last 100 events of each user, which is all that RecTools takes. RecTools is measured
with several batch sizes, of which its fastest counts; ours has that of its recipe.

`learn` trains each system for some CPU seconds and draws how NDCG@10 rises, by leave-one-out, all
items ranked, seen ones left out. Trainings that `--records` holds already are not done again.

The peers' packages clash with ours, so each has an environment of its own below `--environments`,
made by `uv venv` and `uv pip install` when it is missing.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from recsys_peer_tables import Point, Run, plot_runs, print_runs, print_speeds

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.11.0"  # ours, so that the products of matrices cost the same
PACKAGES = {
    "rectools": ("rectools[torch]==0.19.0", "numpy==1.26.4", TORCH),
    "recbole": ("recbole==1.2.1", "numpy==2.4.6", TORCH),
    "replay": ("replay-rec[torch]==0.22.0", "numpy==2.4.6", TORCH),
}
BATCHES, LENGTH = (32, 64, 128, 256), 100
SMALL = {"batch": 32, "lr": 2e-3, "dropout": 0.1}  # many small updates, which learn soonest on CPUs
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "RecTools BERT4Rec": ("rectools", {"model": "bert4rec", **SMALL}),
    "RecTools SASRec": ("rectools", {"model": "sasrec", **SMALL}),
    "RecBole BERT4Rec": ("recbole", {"model": "BERT4Rec", **SMALL, "batch": 128}),
    "RePlay BERT4Rec": ("replay", {"model": "bert4rec", **SMALL}),
    "Recurra BERT4Rec": ("ours", {"model": "bert4rec"}),
    "Recurra SASRec": ("ours", {"model": "sasrec"}),
    "Markov": ("ours", {"model": "markov"}),
}


def main() -> None:
    asked = parse_options()
    if asked.command == "speed":
        print_speeds(str(asked.log), measure_speeds(asked))
        return
    runs = learn(asked)
    print_runs(runs)
    if asked.plot:
        plot_runs(runs, asked.plot)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("speed", help="users a CPU second, ours and RecTools'")
    speed.add_argument("--rows", type=int, default=512, help="histories that RecTools is timed on")
    speed.add_argument("--rounds", type=int, default=3)
    speed.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="of RecTools")
    learning = commands.add_parser("learn", help="NDCG@10 over CPU seconds")
    learning.add_argument(
        "--seconds", type=float, default=240, help="CPU seconds of a peer's training"
    )
    learning.add_argument("--seeds", type=int, nargs="+", default=[0])
    learning.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    learning.add_argument("--epochs", type=int, help="of ours, over which its learning rate falls")
    learning.add_argument("--records", type=Path, required=True, help="a file of trainings")
    learning.add_argument("--plot", type=Path, help="an .svg, .png or .pdf")
    for command in (speed, learning):
        command.add_argument("log", type=Path)
        home = Path.home() / ".cache" / "recurra" / "peers"
        command.add_argument("--environments", type=Path, default=home)
    return parser.parse_args()


class Peer:
    """A peer's script, running in its own environment."""

    def __init__(self, name: str, environments: Path, histories: Path) -> None:
        command = [python_of(name, environments), ROOT / "benchmarks" / f"recsys_peer_{name}.py"]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [*command, histories],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, **threads},
        )

    def answers(self, job: str, **options: Any) -> Iterator[Any]:
        """Do a job: what the script answers, as it comes."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"job": job, **options}), file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            found = json.loads(line)
            if found is None:
                return
            yield found
        raise SystemExit(f"{self.process.args} ended with {self.process.wait()}")

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def python_of(name: str, environments: Path) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing or other."""
    folder = environments / name
    python, pins = folder / "bin" / "python", folder / "recurra-pins.txt"
    wanted = "\n".join(PACKAGES[name])
    if pins.is_file() and pins.read_text() == wanted:
        return python
    print(f"making {folder} with {', '.join(PACKAGES[name])}", file=sys.stderr)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    version = platform.python_version()
    subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", version, folder], check=True)
    install = ["uv", "pip", "install", "--quiet", "--no-config", "--python", python]
    install += ["--exclude-newer", settings["exclude-newer"], *PACKAGES[name]]
    subprocess.run(install, check=True)
    pins.write_text(wanted)
    return python


def measure_speeds(asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The median of users a CPU second of each system, by what they do."""
    from recsys_peer_ours import Ours, last_events, read, write_histories

    log = last_events(read(asked.log), LENGTH + 2)
    print(f"{asked.log}: {log.n_users} users, {log.n_items} items", file=sys.stderr)
    ours, taken = Ours(log), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as folder:
        histories = write_histories(log, Path(folder))
        with Peer("rectools", asked.environments, histories) as peer:
            for _ in range(asked.rounds):
                for batch in asked.batches:
                    rows = min(asked.rows, log.n_users) // batch * batch
                    (found,) = peer.answers("time training", batch=batch, batches=rows // batch)
                    name = f"training, RecTools, batches of {batch}"
                    taken.setdefault(name, []).append(rows / found["cpu_seconds"])
                name = f"training, ours, batches of {ours.batch_size}"
                taken.setdefault(name, []).append(ours.training_speed(4 * asked.rows))
                (found,) = peer.answers("time lists")
                taken.setdefault("lists, RecTools", []).append(log.n_users / found["cpu_seconds"])
                taken.setdefault("lists, ours", []).append(ours.list_speed())
    return {
        work: {
            name.removeprefix(f"{work}, "): median(values)
            for name, values in taken.items()
            if name.startswith(work)
        }
        for work in ("training", "lists")
    }


def learn(asked: argparse.Namespace) -> list[Run]:
    """Train what the records do not hold yet, and give all that was asked for."""
    from recsys_peer_ours import learn_here, read, write_histories
    from recurra.recsys.data import leave_one_out

    log = read(asked.log)
    split = leave_one_out(log)
    records = asked.records.read_text().splitlines() if asked.records.exists() else []
    done = [Run.from_json(line) for line in records]
    wanted = [(name, seed) for seed in asked.seeds for name in asked.systems]
    with tempfile.TemporaryDirectory() as folder:
        histories = write_histories(log, Path(folder))
        for name, seed in wanted:
            if any((run.system, run.seed) == (name, seed) for run in done):
                continue
            where, job = SYSTEMS[name]
            start = time.perf_counter()
            if where == "ours":
                points = learn_here(split, job["model"], seed, asked.epochs)
            else:
                with Peer(where, asked.environments, histories) as peer:
                    answers = peer.answers("learn", **job, seed=seed, seconds=asked.seconds)
                    points = [judged(found, split) for found in answers]
            print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
            done.append(Run(name, seed, points))
            with asked.records.open("a") as out:
                print(done[-1].to_json(), file=out)
    return [run for run in done if (run.system, run.seed) in wanted]


def judged(found: dict[str, Any], split: Any) -> Point:
    """NDCG@10 of a peer's lists."""
    valid, test = split.valid.targets.tolist(), split.test.targets.tolist()
    return Point(found["cpu_seconds"], ndcg_of(found["valid"], valid), ndcg_of(found["test"], test))


def ndcg_of(lists: list[list[int]], targets: list[int]) -> float:
    """The mean over users of 1 / log2(place + 1) of the right item, 0 where it is not listed."""
    gains = [
        1 / np.log2(items.index(target) + 2) if target in items else 0.0
        for items, target in zip(lists, targets, strict=True)
    ]
    return float(np.mean(gains))


if __name__ == "__main__":
    main()
