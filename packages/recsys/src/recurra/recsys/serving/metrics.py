"""What a service has done so far, in memory that does not grow."""

import bisect
import os
import sys
import time
from collections import Counter
from pathlib import Path

# Upper ends of the bins of the histogram, in milliseconds: 2 ** 0.25 apart, 0.25 ms to 65 s.
BINS = [0.25 * 2 ** (step / 4) for step in range(73)]
KNOWN = frozenset({"/recommend", "/events", "/similar", "/health", "/metrics", "/reload"})


class ServiceMetrics:
    """Counts of requests, answers and batches, and how long requests took."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._times = [0] * (len(BINS) + 1)
        self._batches = 0
        self._batched = 0

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count a request; the times of `/recommend` make the quantiles."""
        path = path if path in KNOWN else "other"  # what is kept must not grow with what is asked
        self._requests[path, status] += 1
        if path == "/recommend" and status == 200:
            self._times[bisect.bisect_left(BINS, 1000 * seconds)] += 1

    def observe_batch(self, size: int) -> None:
        """Count what the network answered together."""
        self._batches += 1
        self._batched += size

    def document(self) -> dict[str, object]:
        """All of it, for JSON. Quantiles are the upper ends of bins a fifth wide."""
        paths = sorted({path for path, _ in self._requests})
        return {
            "uptime_seconds": round(time.monotonic() - self._since, 3),
            "requests": {
                path: {
                    str(status): count
                    for (other, status), count in sorted(self._requests.items())
                    if other == path
                }
                for path in paths
            },
            "recommend_ms": {f"p{share}": self._quantile(share / 100) for share in (50, 90, 99)},
            "batches": self._batches,
            "mean_batch": round(self._batched / self._batches, 3) if self._batches else None,
            "memory_bytes": memory_bytes(),
        }

    def _quantile(self, share: float) -> float | None:
        wanted, seen = share * sum(self._times), 0
        for upper, count in zip([*BINS, BINS[-1]], self._times, strict=True):
            seen += count
            if seen and seen >= wanted:
                return round(upper, 3)
        return None


def memory_bytes() -> int | None:
    """Resident memory of this process; None where the system does not say."""
    if sys.platform != "linux":
        return None
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
