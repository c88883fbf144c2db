"""How long does it take to import a large log, and how much memory? Makes the log, too.

    uv run python benchmarks/recsys_import.py 10 30 --folder DIR

for logs of 10 and 30 million rows: a million users, 100,000 items with text ids, both of skewed
popularity, times in milliseconds that rise but for one row in ten. The logs stay in DIR, unless
--remove is given.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

USERS, ITEMS = 1_000_000, 100_000
CHUNK = 1_000_000
IMPORT = """
import json, sys, time
from pathlib import Path
from recurra.core.memory import peak_memory
from recurra.recsys.data import import_log, open_log

before, clock, cpu = peak_memory(), time.perf_counter(), time.process_time()
import_log(Path(sys.argv[1]), Path(sys.argv[2]), force=True)
seconds = {"wall_seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}
sizes = {"imports_mb": before, "above_imports_mb": peak_memory() - before}
log, _ = open_log(Path(sys.argv[2]))
counts = {"events": len(log), "users": log.n_users, "items": log.n_items}
print(json.dumps({**seconds, **sizes, **counts}))
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("millions", type=int, nargs="+", help="of rows")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--remove", action="store_true", help="each log when it is measured")
    asked = parser.parse_args()
    print("| million rows | CSV GB | wall s | CPU s | MiB above imports | events | users | items |")
    print("|---|---|---|---|---|---|---|---|")
    for millions in asked.millions:
        path = asked.folder / f"log-{millions}m.csv"
        if not path.exists():
            make_log(path, millions * 1_000_000)
        command = [sys.executable, "-c", IMPORT, path, asked.folder / "imported"]
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        print(
            f"| {millions} | {path.stat().st_size / 1e9:.2f} | {found['wall_seconds']:.0f} |"
            f" {found['cpu_seconds']:.0f} | {found['above_imports_mb']:.0f} | {found['events']} |"
            f" {found['users']} | {found['items']} |",
            flush=True,
        )
        if asked.remove:
            path.unlink()


def make_log(path: Path, rows: int) -> None:
    """Write a log; the same one for the same number of rows."""
    rng = np.random.default_rng(rows)
    users = np.array([f"user-{n:07}" for n in rng.permutation(USERS)])
    items = np.array([f"item-{n:06}" for n in rng.permutation(ITEMS)])
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            # The square of a uniform number: the first percent of them have a tenth of the events.
            user = (USERS * rng.random(count) ** 2).astype(np.int64)
            item = (ITEMS * rng.random(count) ** 3).astype(np.int64)
            time = 1_600_000_000_000 + 1000 * (start + np.arange(count, dtype=np.int64))
            time -= np.where(rng.random(count) < 0.1, rng.integers(0, 10**9, count), 0)
            frame = pl.DataFrame(
                {"user_id": users[user], "item_id": items[item], "timestamp": time}
            )
            frame.write_csv(file, include_header=start == 0)
    os.replace(partial, path)


if __name__ == "__main__":
    main()
