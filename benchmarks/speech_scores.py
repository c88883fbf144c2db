r"""Score enhancement on the held-out set: the noisy input, our models, noisereduce and pyrnnoise.

    uv run python benchmarks/speech_scores.py sounds/ --model frcrn-small \
        --records speech_scores.jsonl --page benchmarks/speech.md
    uv run python benchmarks/speech_scores.py sounds/ --per-snr 3     # a small run, peers only

`--peers-from RECORDS` takes the noisy input and the peers from an earlier run, where the set is the
same to the last bit: new weights then cost a quarter of an hour and not more than one.

The peers and PESQ (which needs a C compiler) run in an environment of their own, which this script
starts with `uv run --isolated`; wav files in a temporary folder go to and fro. One thread is used.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import soundfile
import torch

from recurra.core.cli import print_table, progress
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.held_out import HeldOutConfig, write_held_out_set
from recurra.speech.evaluate import evaluate_pair
from speech_peers import NONSTATIONARY, RATE, RNNOISE, STATIONARY
from speech_tables import NOISY, Record, not_above, skipped_lines, tables

ROOT = Path(__file__).resolve().parents[1]
PEERS = (STATIONARY, NONSTATIONARY, RNNOISE)
PEER_PACKAGES = ("noisereduce==3.0.3", "pyrnnoise==0.4.5", "pesq==0.0.4", "soundfile", "soxr")
SCORED_HERE = ("si_sdr", "stoi", "dnsmos")
BEGIN, END = "<!-- speech_scores begin -->", "<!-- speech_scores end -->"


def main() -> None:
    options = parse_options()
    if options.from_records:
        run, records = read_records(options.from_records)
    else:
        run, records = score(options)
        write_records(options.records, run, records)
    for grid in tables(records):
        print_table(grid.rows, grid.columns, title=grid.title)
    for line in remarks(run, records):
        print(line)
    if options.page:
        write_section(options.page, section(run, records))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("corpus", type=Path, nargs="?", help="what `data fetch` made")
    parser.add_argument("--model", action="append", default=[], help="NAME or LABEL=FOLDER")
    parser.add_argument("--per-snr", type=int, default=60, help="mixtures at each of the ratios")
    parser.add_argument("--seed", type=int, default=HeldOutConfig.seed)
    parser.add_argument("--records", type=Path, default=Path("speech_scores.jsonl"))
    parser.add_argument("--peers-from", type=Path, help="records of an earlier run on this set")
    parser.add_argument("--page", type=Path, help="a markdown page whose section is replaced")
    parser.add_argument("--from-records", type=Path, help="score nothing, show these records")
    options = parser.parse_args()
    options.models = dict(labelled(model) for model in options.model)
    if not options.corpus and not options.from_records:
        parser.error("give the folder of the corpus, or --from-records FILE")
    if len({NOISY, *PEERS, *options.models}) < 1 + len(PEERS) + len(options.model):
        parser.error("two systems have one name; give --model LABEL=FOLDER")
    return options


def score(options: argparse.Namespace) -> tuple[Record, list[Record]]:
    """Make the set, run every system on it, and score all of them."""
    torch.set_num_threads(1)
    # What runs is what was checked out now; a long run may see the branch move on.
    started, version = time.time(), commit()
    config = HeldOutConfig(seed=options.seed, per_snr=options.per_snr)
    with tempfile.TemporaryDirectory(prefix="speech-scores-") as name:
        folder = Path(name)
        summary = write_held_out_set(folder / "set", Corpus(options.corpus), config)
        noisy, clean = folder / "set" / "noisy", folder / "set" / "clean"
        systems = {}
        if options.peers_from:
            earlier, scored = peers_of(options.peers_from, summary.sha256)
            details = earlier["peers"] | {"scored": f"{earlier['date']}, {earlier['commit']}"}
        else:
            in_peer_environment("denoise", noisy, folder / "peers")
            details, scored = json.loads((folder / "peers" / "peers.json").read_text()), []
            systems = {NOISY: noisy} | {peer: folder / "peers" / peer for peer in PEERS}
        for label, model in options.models.items():
            systems[label] = enhance_folder(model, noisy, folder / "models" / label)
        records = score_systems(systems, clean, folder / "set" / "index.csv")
        add_pesq(records, systems, clean, folder / "pesq.json")
        records = in_order([*scored, *records], options.models)
    run = {
        "command": shown_command(options),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "commit": version,
        "seed": summary.seed,
        "sha256": summary.sha256,
        "items": summary.items,
        "seconds": round(summary.seconds, 1),
        "models": list(options.models),
        "peers": details,
        "wall_minutes": round((time.time() - started) / 60, 1),
    }
    return run, records


def peers_of(path: Path, sha256: str) -> tuple[Record, list[Record]]:
    """The run, and its records of the noisy input and the peers, if it was on this very set."""
    run, records = read_records(path)
    if run["sha256"] != sha256:
        raise SystemExit(f"{path} is of the set {run['sha256']}, and this one is {sha256}")
    return run, [record for record in records if record["system"] in (NOISY, *PEERS)]


def in_order(records: Sequence[Record], models: Iterable[str]) -> list[Record]:
    """The noisy input first, then our models, then the peers."""
    order = [NOISY, *models, *PEERS]
    return sorted(records, key=lambda record: order.index(record["system"]))


def enhance_folder(model: str, noisy: Path, out: Path) -> Path:
    """Write what one of our models makes of every file, as 32-bit floats."""
    from recurra.speech.enhancer import Enhancer

    out.mkdir(parents=True)
    enhancer = Enhancer.from_pretrained(model)
    paths = sorted(noisy.glob("*.wav"))
    with progress(f"enhancing with {out.name}", len(paths), "files") as bar:
        for path in paths:
            audio, _ = soundfile.read(path, dtype="float32")
            soundfile.write(out / path.name, enhancer(audio, RATE), RATE, "FLOAT")
            bar.advance()
    return out


def in_peer_environment(*arguments: object) -> None:
    """Run speech_peers.py where the peers and pesq are installed; their pins clash with ours."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    command = ["uv", "run", "--quiet", "--isolated", "--no-project", "--no-config"]
    command += ["--python", platform.python_version(), "--exclude-newer", settings["exclude-newer"]]
    command += [part for package in PEER_PACKAGES for part in ("--with", package)]
    command += ["python", str(ROOT / "benchmarks" / "speech_peers.py"), *map(str, arguments)]
    # Of ours, only the module of the metrics is used there, and it needs numpy alone.
    sources = [ROOT / "packages" / name / "src" for name in ("core", "speech")]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(map(str, sources))}
    subprocess.run(command, env=environment, check=True)


def score_systems(systems: dict[str, Path], clean: Path, index: Path) -> list[Record]:
    """One record a system and mixture, with all metrics but PESQ."""
    with index.open(newline="", encoding="utf-8") as source:
        items = list(csv.DictReader(source))
    records: list[Record] = []
    with progress("scoring", len(systems) * len(items), "files") as bar:
        for system, folder in systems.items():
            print(f"scoring {system}: {len(items)} files", file=sys.stderr, flush=True)
            for item in items:
                file = f"{item['name']}.wav"
                pair = evaluate_pair(clean / file, folder / file, SCORED_HERE)
                if pair.notes:
                    raise ValueError(f"{system}, {file}: {'; '.join(pair.notes)}")
                records.append(
                    {
                        "system": system,
                        "item": item["name"],
                        "snr_db": float(item["snr_db"]),
                        "kind": item["kind"],
                        "voice": item["voice"],
                        "noise_source": item["noise_source"],
                        "scores": pair.scores,
                        "skipped": pair.skipped,
                    }
                )
                bar.advance()
    return records


def add_pesq(records: list[Record], systems: dict[str, Path], clean: Path, file: Path) -> None:
    """Score all systems by PESQ-WB and add it to their records."""
    in_peer_environment("pesq", clean, file, *systems.values())
    values = json.loads(file.read_text())
    for record in records:
        value = values[systems[record["system"]].name][record["item"]]
        record["skipped" if isinstance(value, str) else "scores"]["pesq"] = value


def remarks(run: Record, records: Sequence[Record]) -> list[str]:
    """What belongs beside the tables: skips, lost comparisons, how it was run."""
    lost = [line for model in run["models"] for line in not_above(records, model, PEERS)]
    peers = run["peers"]
    date = run["date"] + (f" (noisy and peers: {peers['scored']})" if "scored" in peers else "")
    versions = ", ".join(f"{name} {version}" for name, version in peers["versions"].items())
    return [
        *(skipped_lines(records) or ["Every mixture of every system has every score."]),
        *lost,
        f"{run['items']} mixtures, {run['seconds'] / 60:.1f} minutes, seed {run['seed']}, SHA-256 "
        f"{run['sha256']}",
        f"{date}, {run['machine']}, commit {run['commit']}, {run['wall_minutes']} minutes; "
        f"{versions}, with their default settings; pyrnnoise at 48 kHz, moved by its delay of "
        f"{peers['pyrnnoise_delay_samples_at_48_khz']} samples (found by cross-correlation with "
        f"the noisy input in {peers['pyrnnoise_clips_at_that_delay']} of {run['items']} clips)",
        f"Command: {run['command']}",
    ]


def section(run: Record, records: Sequence[Record]) -> str:
    """The part of the page that this script writes."""
    intro = (
        "Means with 95 % bootstrap intervals over mixtures (10,000 resamples). The intervals hold "
        "for other mixtures of these voices and noises; other voices can differ by more. SI-SDR is "
        "of zero-mean signals, PESQ is P.862.2, DNSMOS is P.835 overall; nothing is aligned or "
        "scaled but pyrnnoise, whose constant delay is taken out."
    )
    grids = [grid.markdown() for grid in tables(records)]
    notes = "\n".join(f"- {line}" for line in remarks(run, records))
    return "\n\n".join(["## Enhancement on the held-out set", intro, *grids, notes])


def write_section(page: Path, text: str) -> None:
    """Put the section between its marks, or at the end of the page."""
    block = f"{BEGIN}\n{text}\n{END}"
    old = page.read_text(encoding="utf-8") if page.exists() else "# Speech: results\n"
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    new = pattern.sub(lambda _: block, old) if pattern.search(old) else f"{old}\n{block}\n"
    page.write_text(new, encoding="utf-8")


def write_records(path: Path, run: Record, records: Sequence[Record]) -> None:
    """JSON lines: first the run, then a record a system and mixture."""
    lines = [json.dumps({"run": run}), *(json.dumps(record) for record in records)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_records(path: Path) -> tuple[Record, list[Record]]:
    """What `write_records` wrote."""
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    return json.loads(first)["run"], [json.loads(line) for line in rest]


def labelled(model: str) -> tuple[str, str]:
    """The label of a model, given or the last part of its name or path, and the name or path."""
    label, equals, name = model.partition("=")
    return (label, name) if equals else (Path(model).name, model)


def shown_command(options: argparse.Namespace) -> str:
    """The command without the paths of this machine."""
    words = ["uv", "run", "python", "benchmarks/speech_scores.py", "sounds/"]
    for label, model in options.models.items():
        name = Path(model).name
        words += ["--model", name if name == label else f"{label}={name}"]
    words += ["--per-snr", str(options.per_snr), "--seed", str(options.seed)]
    return shlex.join(words)


def machine() -> str:
    """Processor, cores, system and Python."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    processor = names[0] if names else platform.processor() or platform.machine()
    python = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{processor}, {os.cpu_count()} cores (one used), {platform.system()}, {python}"


def commit() -> str:
    """The commit that is checked out, marked where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
