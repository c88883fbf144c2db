"""What a model is: its kind and sizes, what it was trained on, what it was worth."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recurra.core.pretrained import resolve
from recurra.recsys.recommender import Recommender

METRICS = "metrics.json"


@dataclass(frozen=True)
class ModelInfo:
    """Facts of one model.

    Attributes:
        name: as it was asked for.
        kind: the architecture.
        parameters: trained numbers.
        stored_bytes: of all files of the folder.
        items, users, events: that it knows.
        config: sizes, as config.json has them.
        metrics: what `train` measured, the rules beside the model; None where it is not there.
    """

    name: str
    kind: str
    parameters: int
    stored_bytes: int
    items: int
    users: int
    events: int
    config: dict[str, Any]
    metrics: dict[str, Any] | None


def describe(name_or_path: str | Path) -> ModelInfo:
    """Describe a model folder, or one of the Hugging Face Hub.

    Raises:
        RecurraError: there is no such model.
        CheckpointError: its files do not fit together.
    """
    folder = resolve(name_or_path, shipped_in=None)
    recommender = Recommender.from_pretrained(folder)
    model, log = recommender.model, recommender.log
    return ModelInfo(
        name=str(name_or_path),
        kind=model.kind,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        stored_bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        items=log.n_items,
        users=log.n_users,
        events=len(log),
        config=asdict(model.config),
        metrics=_metrics(folder / METRICS),
    )


def _metrics(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
