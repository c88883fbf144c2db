"""Train BERT4Rec on a log, and say where it stands against rules without training."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recurra.core.pretrained import load_tensors
from recurra.core.training import FitConfig, FitResult, Task, fit
from recurra.recsys.cloze import ClozeBatches, ClozeConfig
from recurra.recsys.data.split import Holdout, Split
from recurra.recsys.losses import blockwise_cross_entropy
from recurra.recsys.models import Bert4Rec, Bert4RecConfig
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.ranking import evaluate


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the defaults are the recipe for a CPU: many small, quick updates.

    The original (batch 256, rate 1e-4, 400,000 steps) learns next to nothing in an hour on a CPU;
    what counts is the number of updates.

    Attributes:
        max_len, d_model, n_heads, n_layers, dropout: sizes, see `Bert4RecConfig`; dropout is of
            the weights of attention too.
        cloze: how examples are made.
        epochs: times that each history is seen.
        learning_rate: its peak, after 100 steps; it falls to a hundredth by the cosine.
        weight_decay: of matrices.
        clip_norm: limit of the gradient's norm.
        validations: how often the model is judged on the validation events.
        patience: validations in a row without a new best after which the run ends.
        max_minutes: wall clock after which it ends, over every sitting; None: no limit.
        seed: of weights, order and masks.
        threads: of torch; None leaves what torch chose.
    """

    max_len: int = 100
    d_model: int = 64
    n_heads: int = 2
    n_layers: int = 2
    dropout: float = 0.1
    cloze: ClozeConfig = field(default_factory=ClozeConfig)
    epochs: int = 100
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    validations: int = 20
    patience: int | None = 5
    max_minutes: float | None = None
    seed: int = 0
    threads: int | None = None


class ClozeTask(Task):
    """Fill in hidden items; judged by NDCG@10 of the validation events over the whole catalogue."""

    def __init__(self, model: Bert4Rec, training_data: ClozeBatches, valid: Holdout) -> None:
        """Take a model, batches over `Draw`, and what judges it."""
        self.model = model
        self.training_data = training_data
        self.collate = _only
        self._valid = valid

    def training_step(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy of the hidden items over all items."""
        hidden = model(batch["items"], batch["masked"])
        table, bias = self.model.output_table, self.model.output_bias
        return {"loss": blockwise_cross_entropy(hidden, table, bias, batch["targets"])}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """NDCG, hit rate and MRR at 10, what was seen left out."""
        return evaluate(NetworkScorer(model), self._valid)


def train(
    split: Split, config: TrainConfig, run_folder: Path, *, progress: bool = True
) -> tuple[Bert4Rec, FitResult]:
    """Train, or go on with the run in `run_folder`.

    Returns:
        The model with the best weights by the validation events, and how the run ended.

    Raises:
        RecurraError: the run folder cannot be used.
    """
    torch.manual_seed(config.seed)
    sizes = Bert4RecConfig(
        n_items=split.train.n_items,
        max_len=config.max_len,
        d_model=config.d_model,
        n_heads=config.n_heads,
        n_layers=config.n_layers,
        dropout=config.dropout,
        attention_dropout=config.dropout,
    )
    model = Bert4Rec(sizes)
    batches = ClozeBatches(split.train, config.max_len, config.cloze, config.seed)
    steps = config.epochs * len(batches)
    settings = FitConfig(
        seed=config.seed,
        max_steps=steps,
        batch_size=1,  # a batch is one item of the dataset
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=min(100, steps // 10),
        clip_norm=config.clip_norm,
        max_minutes=config.max_minutes,
        patience=config.patience,
        validate_every=max(1, steps // config.validations),
        checkpoint_every=max(1, steps // config.validations),
        threads=config.threads,
    )
    task = ClozeTask(model, batches, split.valid)
    result = fit(task, settings, run_folder, progress=progress)
    best = run_folder / "best"
    if best.is_dir():
        load_tensors(model, Bert4Rec.from_pretrained(best).state_dict())
    return model.eval(), result


def _only(batches: Iterable[Any]) -> Any:
    (batch,) = batches
    return batch
