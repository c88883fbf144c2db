"""How much memory this process takes."""

import sys


def peak_memory() -> float | None:
    """Return the most memory that this process has held, in MiB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
