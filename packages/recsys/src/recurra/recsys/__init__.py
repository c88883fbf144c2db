"""Recommendations from a log of interactions, from Python or with the command `recurra-recsys`.

>>> from recurra.recsys import Recommender
>>> Recommender.from_pretrained("model").for_histories([["tea", "cups"]], k=3).table
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.recsys.recommender import Recommendations, Recommender

__all__ = ["Recommendations", "Recommender"]


def __getattr__(name: str) -> Any:
    """Import the library when it is first asked for: `recurra-recsys --help` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from recurra.recsys import recommender

    return getattr(recommender, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
