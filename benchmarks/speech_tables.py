"""Tables of the scores that speech_scores.py writes: for the terminal and for the page."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from recurra.core.bootstrap import MeanInterval, bootstrap_mean

METRICS = {"si_sdr": "SI-SDR (dB)", "pesq": "PESQ-WB", "stoi": "STOI", "dnsmos": "DNSMOS (overall)"}
DECIMALS = {"si_sdr": 2, "pesq": 2, "stoi": 3, "dnsmos": 2}
BAR_SNRS = (0.0, 5.0, 10.0)
NOISY = "noisy"
Record = dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """A table: a title, heads, and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        """The table as it stands in a page."""
        heads = "| " + " | ".join(self.columns) + " |"
        line = "|" + "---|" * len(self.columns)
        rows = ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([f"**{self.title}**", "", heads, line, *rows])


def tables(records: Sequence[Record]) -> list[Grid]:
    """Everything that the page shows, from the records of all systems."""
    systems = list(dict.fromkeys(record["system"] for record in records))
    snrs = sorted({record["snr_db"] for record in records})
    kinds = sorted({record["kind"] for record in records})
    by_snr: dict[str, Callable[[Record], bool]] = {
        f"{snr:g} dB": lambda record, snr=snr: record["snr_db"] == snr for snr in snrs
    }
    by_snr["mean of 0, 5, 10 dB"] = in_bar
    by_kind = {kind: lambda record, kind=kind: record["kind"] == kind for kind in kinds}
    grids = [_means(records, systems, metric, by_snr, "by SNR") for metric in METRICS]
    grids.append(_gains(records, systems))
    grids += [_means(records, systems, metric, by_kind, "by kind of noise") for metric in METRICS]
    return grids


def not_above(records: Sequence[Record], ours: str, peers: Iterable[str]) -> list[str]:
    """Where our mean is not above a peer's, at 0, 5 and 10 dB, one line each."""
    lines = []
    for peer in peers:
        for metric, title in METRICS.items():
            for snr in BAR_SNRS:
                values = [
                    _mean(records, system, metric, lambda record, snr=snr: record["snr_db"] == snr)
                    for system in (ours, peer)
                ]
                mine, theirs = (value.mean if value else float("nan") for value in values)
                if not mine > theirs:
                    digits = DECIMALS[metric]
                    lines.append(
                        f"{ours} is not above {peer} in {title} at {snr:g} dB: "
                        f"{mine:.{digits}f} against {theirs:.{digits}f}"
                    )
    return lines


def skipped_lines(records: Sequence[Record]) -> list[str]:
    """What could not be scored, counted by system, metric and reason."""
    counts = Counter(
        (record["system"], metric, reason)
        for record in records
        for metric, reason in record["skipped"].items()
    )
    return [
        f"{system}, {metric}: {count} skipped ({reason})"
        for (system, metric, reason), count in sorted(counts.items())
    ]


def in_bar(record: Record) -> bool:
    """Whether a mixture counts in the mean of 0, 5 and 10 dB."""
    return record["snr_db"] in BAR_SNRS


def _means(
    records: Sequence[Record],
    systems: Sequence[str],
    metric: str,
    groups: dict[str, Callable[[Record], bool]],
    title: str,
) -> Grid:
    rows = [
        (
            system,
            *(_cell(_mean(records, system, metric, chosen), metric) for chosen in groups.values()),
        )
        for system in systems
    ]
    return Grid(f"{METRICS[metric]} {title}", ("", *groups), rows)


def _gains(records: Sequence[Record], systems: Sequence[str]) -> Grid:
    """Differences to the noisy input, mixture by mixture, where both have a score."""
    noisy = {record["item"]: record["scores"] for record in records if record["system"] == NOISY}
    rows = []
    for system in systems:
        if system == NOISY:
            continue
        cells = []
        for metric in METRICS:
            gains = [
                record["scores"][metric] - noisy[record["item"]][metric]
                for record in records
                if record["system"] == system
                and in_bar(record)
                and metric in record["scores"]
                and metric in noisy[record["item"]]
            ]
            cells.append(_cell(bootstrap_mean(gains) if gains else None, metric, "+"))
        rows.append((system, *cells))
    return Grid("Gain over the noisy input, mean of 0, 5, 10 dB", ("", *METRICS.values()), rows)


def _mean(
    records: Sequence[Record], system: str, metric: str, chosen: Callable[[Record], bool]
) -> MeanInterval | None:
    values = [
        record["scores"][metric]
        for record in records
        if record["system"] == system and metric in record["scores"] and chosen(record)
    ]
    return bootstrap_mean(values) if values else None


def _cell(value: MeanInterval | None, metric: str, sign: str = "") -> str:
    if value is None:
        return "-"
    form = f"{sign}.{DECIMALS[metric]}f"
    if value.low is None or value.high is None:
        return f"{value.mean:{form}}"
    return f"{value.mean:{form}} [{value.low:{form}}, {value.high:{form}}]"
