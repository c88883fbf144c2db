"""Networks that predict the next item of a history."""

from pathlib import Path

from recurra.core.errors import CheckpointError
from recurra.core.pretrained import read_config
from recurra.recsys.models.bert4rec import Bert4Rec, Bert4RecConfig
from recurra.recsys.models.next_item import NetworkConfig, NextItemConfig, NextItemModel
from recurra.recsys.models.sasrec import SasRec, SasRecConfig

__all__ = [
    "Bert4Rec",
    "Bert4RecConfig",
    "NetworkConfig",
    "NextItemConfig",
    "NextItemModel",
    "SasRec",
    "SasRecConfig",
    "load_model",
]


def load_model(folder: Path) -> NextItemModel:
    """Load whichever of these networks a model folder holds, in eval mode on the CPU.

    Raises:
        CheckpointError: it holds another kind of model, or files are missing or do not fit.
    """
    kind = read_config(folder).get("model")
    classes: dict[object, type[NextItemModel]] = {c.kind: c for c in (Bert4Rec, SasRec)}
    if kind not in classes:
        known = ", ".join(map(str, classes))
        raise CheckpointError(f"{folder} holds a model of kind {kind!r}, not one of {known}")
    return classes[kind].from_pretrained(folder)
