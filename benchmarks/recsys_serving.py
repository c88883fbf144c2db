"""How fast does `recurra-recsys serve` answer? The server may use one core, wrk another.

    uv run python benchmarks/recsys_serving.py --items 3416

A model with random weights and histories of 49 random items: the time does not depend on what the
weights are. Where other work runs beside it, the CPU time of the server for a request says more
than the clock does. Needs Linux with two cores, `wrk` and `taskset`.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import polars as pl
import torch

from recurra.recsys import Recommender
from recurra.recsys.data import Interactions
from recurra.recsys.models import Bert4Rec, Bert4RecConfig

BODIES = 2000
LUA = """
local bodies, at = {}, 0
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
request = function()
  at = at % #bodies + 1
  return wrk.format("POST", "/recommend", {["Content-Type"] = "application/json"}, bodies[at])
end
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=3416)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=100_000, help="for the memory; 0: none")
    parser.add_argument("--cores", default="0,1", help="of the server and of wrk")
    asked = parser.parse_args()
    asked.core, asked.core_of_wrk = asked.cores.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder, asked.items)
        script = folder / "ask.lua"
        script.write_text(LUA.replace("BODIES", str(folder / "bodies")))
        recurra = Path(sys.executable).with_name("recurra-recsys")
        command = ["taskset", "-c", asked.core, recurra, "serve", folder / "model", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            address = server.stdout.readline().split()[-1]
            try:
                measure(address, server.pid, script, asked)
            finally:
                server.terminate()


def make_model(folder: Path, items: int) -> None:
    """Write a random model, and the bodies of requests."""
    torch.manual_seed(0)
    rng = random.Random(0)
    ids = [f"item-{number}" for number in range(items)]
    rows = [("user", item) for item in ids]
    log = Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))
    model = Bert4Rec(Bert4RecConfig(n_items=items, max_len=50, d_model=64))
    Recommender(model, log).save(folder / "model")
    bodies = [json.dumps({"history": rng.choices(ids, k=49), "k": 10}) for _ in range(BODIES)]
    (folder / "bodies").write_text("\n".join(bodies) + "\n")


def measure(address: str, pid: int, script: Path, asked: argparse.Namespace) -> None:
    """Print one row for one client, one for 64, and the memory."""
    wrk(address, script, asked.core_of_wrk, 8, 3)
    print(f"V = {asked.items}, L = 50, d = 64; torch {torch.__version__}, one thread")
    print("| clients | requests/s | p50 ms | p99 ms | CPU ms a request | errors |")
    print("|---|---|---|---|---|---|")
    for clients in (1, 64):
        cpu = cpu_seconds(pid)
        done = wrk(address, script, asked.core_of_wrk, clients, asked.seconds)
        cpu = 1000 * (cpu_seconds(pid) - cpu) / done["requests"]
        print(
            f"| {clients} | {done['requests'] / asked.seconds:.0f} | {done[50]:.2f} |"
            f" {done[99]:.2f} | {cpu:.2f} | {done['errors']:.0f} |",
            flush=True,
        )
    for goal in (asked.requests // 10, asked.requests) if asked.requests else ():
        while (answered := metrics(address)["requests"]["/recommend"]["200"]) < goal:
            wrk(address, script, asked.core_of_wrk, 64, 5)
        print(f"after {answered} requests: {metrics(address)['memory_bytes'] / 1e6:.1f} MB")
    print(json.dumps(metrics(address)))


def wrk(address: str, script: Path, core: str, clients: int, seconds: int) -> dict[object, float]:
    """Load the server: "requests", "errors", and the median and 99th percentile in ms."""
    command = ["taskset", "-c", core, "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency"]
    done = subprocess.run(
        [*command, "-s", str(script), address], capture_output=True, text=True, check=True
    )
    found: dict[object, float] = {}
    for share in (50, 99):
        value, unit = re.search(rf"\s{share}%\s+([\d.]+)(us|ms|s)", done.stdout).groups()
        found[share] = float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
    found["requests"] = float(re.search(r"(\d+) requests in", done.stdout)[1])
    bad = re.findall(r"responses: (\d+)|timeout (\d+)", done.stdout)
    found["errors"] = sum(float(count) for pair in bad for count in pair if count)
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def metrics(address: str) -> dict:
    """What the server says of itself."""
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
