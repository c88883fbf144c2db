"""Which models ship, by what they are."""

from typing import Any

from recurra.core.pretrained import read_config, resolve, shipped_names

WEIGHTS = "recurra.speech.weights"


def shipped(kind: str) -> dict[str, dict[str, Any]]:
    """The configs of the shipped models of a kind, by name."""
    names = shipped_names(WEIGHTS)
    configs = {name: read_config(resolve(name, shipped_in=WEIGHTS)) for name in names}
    return {name: config for name, config in configs.items() if config["model"] == kind}
