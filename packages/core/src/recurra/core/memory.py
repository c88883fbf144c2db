"""How much memory a process has needed."""

import re
import sys
from pathlib import Path


def peak_memory() -> float | None:
    """Return the most memory that this process has held at once, in MiB; None on Windows.

    On Linux it is what the kernel counts for the program that runs now. `getrusage` would do
    elsewhere, but there its peak has what the process that started this one held at the time.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if found is not None:
            return int(found[1]) / 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, else KiB
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
