"""Speech: clean noisy recordings and take voices apart, from Python or with `recurra-speech`.

>>> from recurra.speech import enhance
>>> cleaned = enhance(audio, sample_rate)
>>> from recurra.speech import Separator
>>> voices = Separator.from_pretrained("ss")(audio, sample_rate)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.speech.enhancer import EnhanceOptions, Enhancer, enhance
    from recurra.speech.separator import SeparateOptions, Separator

__all__ = ["EnhanceOptions", "Enhancer", "SeparateOptions", "Separator", "enhance"]
_SEPARATING = {"SeparateOptions", "Separator"}


def __getattr__(name: str) -> Any:
    """Import the library when it is first asked for: `recurra-speech --help` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "separator" if name in _SEPARATING else "enhancer"
    return getattr(import_module(f"recurra.speech.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
