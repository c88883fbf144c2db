"""Speech: clean a noisy recording, from Python or with the command `recurra-speech`.

>>> from recurra.speech import enhance
>>> cleaned = enhance(audio, sample_rate)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.speech.enhancer import EnhanceOptions, Enhancer, enhance

__all__ = ["EnhanceOptions", "Enhancer", "enhance"]


def __getattr__(name: str) -> Any:
    """Import the library when it is first asked for: `recurra-speech --help` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from recurra.speech import enhancer

    return getattr(enhancer, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
