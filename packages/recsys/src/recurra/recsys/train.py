"""Train a network on a split log."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from recurra.core.training import FitConfig, FitResult, Task, fit, process_count
from recurra.recsys.bert_adam import BertAdam
from recurra.recsys.data.interactions import Interactions
from recurra.recsys.data.split import Holdout, Split
from recurra.recsys.first_embeddings import cooccurrence_embeddings
from recurra.recsys.item_features import ItemFeatures
from recurra.recsys.losses import gbce, linear_cross_entropy, sampled_softmax
from recurra.recsys.models import (
    Bert4Rec,
    Bert4RecConfig,
    NetworkConfig,
    NextItemModel,
    SasRec,
    SasRecConfig,
    load_model,
)
from recurra.recsys.negatives import NegativeSampler
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.objectives import ClozeBatches, ClozeConfig, NextItemBatches
from recurra.recsys.ranking import evaluate
from recurra.recsys.row_sparse_adam import RowSparseAdam
from recurra.recsys.windows import WindowBatches

SPARSE_FROM = 100_000  # items from which a sparse table saves more than it costs
TRAINING = "training.json"
# What a run's `FitConfig` has of a recipe, or makes of it.
IN_FIT_CONFIG = frozenset(
    {"epochs", "learning_rate", "schedule", "weight_decay", "clip_norm", "validations", "patience"}
    | {"max_minutes", "seed", "threads"}
)


@dataclass(frozen=True)
class LossConfig:
    """How wrong scores are.

    Attributes:
        name: "softmax" over all items, or over some: "sampled-softmax" or "gbce".
        n_negatives: items that the latter two draw for a batch.
        negative_power: they are drawn by their counts to this power: 0 draws all alike.
        calibration: t of gBCE.
    """

    name: Literal["softmax", "sampled-softmax", "gbce"] = "softmax"
    n_negatives: int = 256
    negative_power: float = 0.0
    calibration: float = 0.75

    def __post_init__(self) -> None:
        if self.n_negatives < 1:
            raise ValueError(f"n_negatives is {self.n_negatives}; it must be at least 1")
        if not 0 <= self.calibration <= 1:
            raise ValueError(f"calibration is {self.calibration}; it must be in [0, 1]")
        if self.name == "gbce" and self.negative_power:
            raise ValueError("gbce takes negatives drawn alike: negative_power must be 0")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the defaults are BERT4Rec's recipe for a CPU.

    The original (batch 256, rate 1e-4, 400,000 steps) learns next to nothing in an hour on a CPU.
    What counts there is the number of updates, so that they are small and quick, and that the
    first ones already help: rotary places tell a mask from the start what stands right before it,
    and embeddings from co-occurrence which items are near each other. `recurra.recsys.recipes` has
    the original, and those of other networks.

    Attributes:
        model: "bert4rec" fills in hidden items, "sasrec" says at each event what comes next.
        network: its sizes and variants.
        cloze: how items are hidden from bert4rec.
        loss: how wrong scores are.
        sparse_table: whether an update touches only the rows of the item table that it met, see
            `RowSparseAdam`, which takes a loss over some items; None: if the loss is one and there
            are `SPARSE_FROM` items.
        first_embeddings: of items: "random", or from "cooccurrence" in the training events, see
            `cooccurrence_embeddings`.
        batch_size: histories (or windows of long ones) in an update.
        window_step: a history that is longer than the network sees is cut into windows, counted
            back from its end, whose ends are this share of `network.max_len` apart.
        epochs: times that each history is seen.
        learning_rate: its peak, after 100 steps.
        schedule: how it falls from there: by the "cosine" to a hundredth, or "linear" to zero.
        optimizer: "adamw", or "bert-adam", see `BertAdam`.
        weight_decay: of matrices.
        clip_norm: limit of the gradient's norm.
        validations: how often the model is judged on the validation events.
        patience: validations in a row without a new best after which the run ends.
        max_minutes: wall clock after which it ends, over every sitting; None: no limit.
        seed: of weights, order and masks.
        threads: of torch; None leaves what torch chose.
    """

    model: Literal["bert4rec", "sasrec"] = "bert4rec"
    network: NetworkConfig = field(
        default_factory=lambda: NetworkConfig(layer="pre-norm", positions="rotary")
    )
    cloze: ClozeConfig = field(default_factory=ClozeConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sparse_table: bool | None = None
    first_embeddings: Literal["random", "cooccurrence"] = "cooccurrence"
    batch_size: int = 32
    window_step: float = 0.5
    epochs: int = 100
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "linear"] = "cosine"
    optimizer: Literal["adamw", "bert-adam"] = "adamw"
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    validations: int = 20
    patience: int | None = 10
    max_minutes: float | None = None
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "validations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.window_step <= 1:
            raise ValueError(f"window_step is {self.window_step}; it must be in (0, 1]")
        if self.sparse_table and (self.loss.name == "softmax" or self.optimizer != "adamw"):
            raise ValueError(
                "sparse_table takes loss.name=sampled-softmax or gbce, and optimizer=adamw"
            )
        if self.model == "bert4rec" and (
            self.network.encoder != "attention" or self.network.ngrams
        ):
            raise ValueError(
                "network.encoder and network.ngrams are of sasrec: bert4rec looks ahead"
            )

    def has_sparse_table(self, n_items: int) -> bool:
        """Whether updates touch only some rows of the table of so many items."""
        if self.sparse_table is not None:
            return self.sparse_table
        possible = self.loss.name != "softmax" and self.optimizer == "adamw"
        return possible and n_items >= SPARSE_FROM


class NextItemTask(Task):
    """Score items at asked steps; judged by NDCG@10 of the validation events over all items."""

    def __init__(
        self,
        model: NextItemModel,
        training_data: WindowBatches,
        valid: Holdout,
        config: TrainConfig,
    ) -> None:
        """Take a model, batches over `Draw`, what judges it, and how it is trained."""
        self.model = model
        self.training_data = training_data
        self.collate = _only
        self._valid = valid
        self._loss = config.loss
        self._optimizer = config.optimizer
        self._sparse = config.has_sparse_table(model.config.n_items)
        model.item_embedding.sparse = self._sparse
        log = training_data.log
        counts = np.bincount(log.sequence, minlength=log.n_items + 1)
        self._sampler = NegativeSampler(counts, config.loss.negative_power)

    def training_step(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The loss at the asked steps."""
        hidden, bias = model(batch["items"], batch["places"]), self.model.output_bias
        if self._loss.name == "softmax":
            at = (hidden, self.model.output_table, bias, batch["targets"])
            return {"loss": linear_cross_entropy(*at)}
        at = (hidden, self.model.item_embedding, bias, batch["targets"])
        negatives, log_shares = self._sampler.draw(self._loss.n_negatives, hidden.device)
        if self._loss.name == "sampled-softmax":
            return {"loss": sampled_softmax(*at, negatives, log_shares)}
        n_items = self.model.config.n_items
        return {"loss": gbce(*at, negatives, self._loss.calibration, n_items=n_items)}

    def optimizer(
        self, parameters: Iterable[nn.Parameter], *, learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """AdamW as every task has it, BERT's, or that for a sparse table, on the same groups."""
        table = self.model.item_embedding.weight
        rest = [p for p in parameters if not (self._sparse and p is table)]
        plain = super().optimizer(rest, learning_rate=learning_rate, weight_decay=weight_decay)
        groups = [
            {"params": g["params"], "weight_decay": g["weight_decay"]} for g in plain.param_groups
        ]
        if self._sparse:
            return RowSparseAdam(table, groups, lr=learning_rate)
        return plain if self._optimizer == "adamw" else BertAdam(groups, lr=learning_rate)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """NDCG, hit rate and MRR at 10, what was seen left out."""
        return evaluate(NetworkScorer(model.folded()), self._valid)


def train(
    split: Split,
    config: TrainConfig,
    run_folder: Path,
    *,
    features: ItemFeatures | None = None,
    start: NextItemModel | None = None,
    choose: bool = True,
    progress: bool = True,
) -> tuple[NextItemModel, FitResult]:
    """Train, or go on with the run in `run_folder`.

    Args:
        split: what to learn from and to choose by.
        config: how.
        run_folder: keeps the state of the run.
        features: of the items of the split's log, which the model that comes back has in its item
            table, see `NextItemModel.folded`; not with `start`.
        start: a model to begin with, of the sizes of `config`; None draws new weights.
        choose: take the best weights by the validation events; False takes the last ones, where
            all events are learnt from.
        progress: show how far it is.

    Returns:
        The model, and how the run ended.

    Raises:
        RecurraError: the run folder cannot be used, or is of other events or another recipe.
    """
    torch.manual_seed(config.seed)
    settings = run_settings(config, split, start)
    if features is not None:
        settings["features"] = features.digest()
    model = start or build_model(config, split.train, features)
    batches = build_batches(config, split.train)
    task = NextItemTask(model, batches, split.valid, config)
    how = fit_config(config, len(batches))
    if not choose:
        how = replace(how, validate_every=None, patience=None)
    result = fit(task, how, run_folder, settings=settings, progress=progress)
    best = run_folder / "best"
    model = load_model(best) if best.is_dir() else model.eval()
    return model.folded(), result


def training_file(config: TrainConfig) -> dict[str, Callable[[Path], object]]:
    """How a model was trained, for `Recommender.save`: what `extend` goes on by."""
    text = json.dumps(asdict(config), indent=2) + "\n"
    return {TRAINING: lambda path: path.write_text(text)}


def run_settings(config: TrainConfig, split: Split, start: NextItemModel | None) -> dict[str, Any]:
    """What the weights of a run follow from, beside its `FitConfig`."""
    recipe = {name: value for name, value in asdict(config).items() if name not in IN_FIT_CONFIG}
    first = None if start is None else _digest_of_weights(start)
    seen = {"filter_seen": split.valid.filter_seen}  # which the best weights follow from
    return {**recipe, "log": split.train.digest(), "first_weights": first, **seen}


def _digest_of_weights(model: nn.Module) -> str:
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy())
    return found.hexdigest()[:16]


def fit_config(config: TrainConfig, updates: int) -> FitConfig:
    """How a run of so many updates an epoch goes; several processes share them."""
    steps = config.epochs * math.ceil(updates / process_count())
    return FitConfig(
        seed=config.seed,
        max_steps=steps,
        batch_size=1,  # a batch is one item of the dataset
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=min(100, steps // 10),
        schedule=config.schedule,
        final_learning_rate=0.01 if config.schedule == "cosine" else 0.0,
        clip_norm=config.clip_norm,
        max_minutes=config.max_minutes,
        patience=config.patience,
        validate_every=max(1, steps // config.validations),
        checkpoint_every=max(1, steps // config.validations),
        threads=config.threads,
    )


def build_model(
    config: TrainConfig, log: Interactions, features: ItemFeatures | None = None
) -> NextItemModel:
    """A network for the items of a log, with weights drawn by torch's generator."""
    sizes = {"n_items": log.n_items, **vars(config.network)}
    if features is not None:
        sizes["n_feature_values"] = features.n_values
        sizes["features_per_item"] = features.values.shape[1]
    model: NextItemModel
    if config.model == "bert4rec":
        model = Bert4Rec(Bert4RecConfig(**sizes))
    else:
        model = SasRec(SasRecConfig(**sizes))
    if config.first_embeddings == "cooccurrence":
        first = cooccurrence_embeddings(log, config.network.d_model, config.seed)
        with torch.no_grad():
            model.item_embedding.weight[1 : log.n_items + 1] = torch.from_numpy(first[1:])
    if features is not None:
        model.item_embedding.values[: log.n_items + 1] = torch.from_numpy(features.values)
    return model


def build_batches(config: TrainConfig, log: Interactions) -> WindowBatches:
    """What the network learns from."""
    max_len = config.network.max_len
    step = max(1, round(config.window_step * max_len))
    options = {"batch_size": config.batch_size, "seed": config.seed}
    if config.model == "bert4rec":
        return ClozeBatches(log, max_len, step, config.cloze, **options)
    return NextItemBatches(log, max_len + 1, step, **options)


def _only(batches: Iterable[Any]) -> Any:
    (batch,) = batches
    return batch
