"""Work that takes hours, in sittings: a list of commands, each with a budget of CPU time.

    uv run python benchmarks/long_runs.py run benchmarks/long_runs.toml --for 90
    uv run python benchmarks/long_runs.py status benchmarks/long_runs.toml

The list is TOML: a table a run, with `command` (words, no shell) and `cpu_hours`. A command must go
on where it stopped when it is run again, as `recurra-speech train` does. Runs go one after the
other. When the minutes or a budget are spent, or on Ctrl-C, the command gets SIGINT, then SIGTERM,
then SIGKILL, `--grace` seconds apart. One that exits with 0 is never run again; one that fails is,
in the next sitting, until it has failed three times in a row; `--again NAME` forgets how a run
ended. One sitting at a time uses a `--folder`, and none while a command of a killed one is alive.
Needs a POSIX system; without /proc a budget is checked when a command ends only.

Exit codes: 0 all runs are finished, 1 one failed or spent its budget, 2 usage, 3 work remains.
"""

import argparse
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

MAX_FAILURES = 3
POLL_SECONDS = 0.3


@dataclass
class Run:
    """One command and what became of it: `end` is "" (never ran), or how its last sitting ended."""

    command: str
    budget_seconds: float
    end: str = ""
    cpu_seconds: float = 0.0
    sittings: int = 0
    failures: int = 0  # in a row

    @property
    def state(self) -> str:
        """What a sitting does with it: only "to do" is run."""
        spent = self.cpu_seconds >= self.budget_seconds
        undone = "given up" if self.failures >= MAX_FAILURES else "to do"
        return "finished" if self.end == "finished" else "budget spent" if spent else undone


@dataclass
class Sitting:
    """Runs commands until the time is over or a signal comes."""

    runs: dict[str, Run]
    folder: Path
    end: float  # on the monotonic clock
    grace: float  # seconds after each signal

    def work(self, lock: int) -> None:
        """Run each command that is to do, one after the other."""
        for name, run in self.runs.items():
            if run.state == "to do" and time.monotonic() < self.end:
                print(f"{name}: {run.command}", flush=True)
                self._run(name, run, lock)
                print(f"{name}: {run.end}, {run.cpu_seconds / 3600:.2f} CPU hours", flush=True)

    def _run(self, name: str, run: Run, lock: int) -> None:
        before, run.sittings = run.cpu_seconds, run.sittings + 1
        run.end = "cut off"  # what it is if this process is killed
        save(self.folder, self.runs)
        with open(self.folder / f"{name}.log", "ab") as log:
            log.write(f"== sitting {run.sittings} at {time.ctime()}: {run.command}\n".encode())
            log.flush()
            # The lock goes along: it is held as long as the command or a child of it lives.
            apart = {"stdin": subprocess.DEVNULL, "start_new_session": True, "pass_fds": [lock]}
            try:
                process = subprocess.Popen(
                    shlex.split(run.command), stdout=log, stderr=log, **apart
                )
            except OSError as error:
                log.write(f"{error}\n".encode())
                code, told = 127, False
            else:
                code, told = self._watch(process, run, before)
        run.end = "finished" if code == 0 else "stopped" if told else f"failed with {code}"
        run.failures = run.failures + 1 if code and not told else 0
        save(self.folder, self.runs)

    def _watch(self, process: subprocess.Popen[bytes], run: Run, before: float) -> tuple[int, bool]:
        """Wait for a command, and stop it in time; its exit code, and whether it was told to."""
        signals = iter((signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
        told, next_signal = False, 0.0
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                process.returncode = os.waitstatus_to_exitcode(status)
                used = before + usage.ru_utime + usage.ru_stime
                run.cpu_seconds = max(run.cpu_seconds, used)
                return process.returncode, told
            run.cpu_seconds = max(run.cpu_seconds, before + cpu_seconds(process.pid))
            save(self.folder, self.runs)  # should this process be killed, the time still counts
            now = time.monotonic()
            stop = now >= self.end or run.cpu_seconds >= run.budget_seconds
            if stop and now >= next_signal and (number := next(signals, None)):
                os.killpg(process.pid, number)
                told, next_signal = True, now + self.grace
            time.sleep(POLL_SECONDS)


def cpu_seconds(session: int) -> float:
    """CPU time so far of the processes of a session and of their ended children."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended; its parent counts it
            continue
        if int(fields[3]) == session:
            total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def load(path: Path, folder: Path) -> dict[str, Run]:
    """The runs of the list, with what the state in `folder` knows of them."""
    state = folder / "state.json"
    known = json.loads(state.read_text()) if state.exists() else {}
    runs = {}
    try:
        for name, wanted in tomllib.loads(path.read_text()).items():
            given = {"command": wanted["command"], "budget_seconds": 3600 * wanted["cpu_hours"]}
            runs[name] = Run(**{**known.get(name, {}), **given})
    except (OSError, ValueError) as error:
        refuse(f"{path}: {error}")
    except (KeyError, TypeError):
        refuse(f"{path}: [{name}] must have `command` and `cpu_hours`")
    return runs


def save(folder: Path, runs: dict[str, Run]) -> None:
    partial = folder / ".state.json.partial"
    partial.write_text(json.dumps({name: asdict(run) for name, run in runs.items()}, indent=2))
    os.replace(partial, folder / "state.json")


def refuse(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(2)


def show(runs: dict[str, Run]) -> None:
    print(f"{'run':20} {'state':12} {'last sitting':14} sittings  CPU hours        of")
    for name, run in runs.items():
        hours = f"{run.cpu_seconds / 3600:10.2f} {run.budget_seconds / 3600:9.2f}"
        print(f"{name:20} {run.state:12} {run.end:14} {run.sittings:8} {hours}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["run", "status"])
    parser.add_argument("list", type=Path, help="the TOML file that names the runs")
    parser.add_argument("--folder", type=Path, help="default: ~/.local/state/recurra/<list>")
    parser.add_argument("--for", dest="minutes", type=float, default=float("inf"), metavar="MIN")
    parser.add_argument("--grace", type=float, default=120, metavar="S", help="after each signal")
    parser.add_argument("--again", action="append", default=[], metavar="NAME")
    options = parser.parse_args()
    options.folder = options.folder or Path.home() / ".local/state/recurra" / options.list.stem
    return options


def main() -> int:
    options = parse_options()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.what == "run":
        with open(options.folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                refuse(f"{options.folder}: another sitting is at work")
            runs = load(options.list, options.folder)
            for name in set(options.again) & set(runs):
                runs[name].end, runs[name].failures = "", 0
            save(options.folder, runs)
            end = time.monotonic() + 60 * options.minutes
            sitting = Sitting(runs, options.folder, end, options.grace)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: setattr(sitting, "end", 0.0))
            sitting.work(lock.fileno())
    runs = load(options.list, options.folder)
    show(runs)
    states = {run.state for run in runs.values()}
    return 3 if "to do" in states else int(states != {"finished"})


if __name__ == "__main__":
    sys.exit(main())
