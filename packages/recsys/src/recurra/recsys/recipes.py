"""Networks and how they are trained, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from recurra.core.cli import load_config
from recurra.core.errors import RecurraError
from recurra.recsys.models import NetworkConfig
from recurra.recsys.objectives import ClozeConfig
from recurra.recsys.train import LossConfig, TrainConfig

_SASREC = NetworkConfig(
    layer="pre-norm", positions="inverse", norm_eps=1e-8, dropout=0.3, attention_dropout=0.3
)

RECIPES = {
    "bert4rec": TrainConfig(),
    # With the loss over all items, which Klenitskiy and Vasilev 2023 (arXiv 2309.07602) found to
    # beat the original's one negative an event, and BERT4Rec.
    "sasrec": TrainConfig(model="sasrec", network=_SASREC),
    # Petrov and Macdonald 2023 (arXiv 2308.07192).
    "gsasrec": TrainConfig(model="sasrec", network=_SASREC, loss=LossConfig("gbce")),
    # Tikhonovich et al. 2025 (arXiv 2508.06450).
    "esasrec": TrainConfig(
        model="sasrec",
        network=replace(_SASREC, layer="ligr", norm_eps=1e-5),
        loss=LossConfig("sampled-softmax"),
    ),
}

# Sun et al. 2019 as they released it for ML-1M: FeiSun/BERT4Rec `run_ml-1m.sh`, `run.py`,
# `bert_train/bert_config_ml-1m_64.json`. The release takes 400,000 steps, whatever the log, learns
# from the validation events too and keeps its last weights; here epochs count, and the best weights
# by the validation events are kept. Its line falls from the first step on and not from the end of
# the warm-up, and its first step has a rate of zero.
ORIGINALS = {
    "bert4rec": TrainConfig(
        network=NetworkConfig(
            max_len=200, dropout=0.2, attention_dropout=0.2, initial_deviation=0.02
        ),
        cloze=ClozeConfig(mask_share=0.2, last_share=1 / 11),
        first_embeddings="random",
        batch_size=256,
        window_step=0.5,
        learning_rate=1e-4,
        schedule="linear",
        optimizer="bert-adam",
        weight_decay=0.01,
        clip_norm=5.0,
        patience=None,
    )
}


def load_recipe(
    name: str,
    overrides: Sequence[str] = (),
    options: Mapping[str, object] | None = None,
    *,
    recipe: str = "cpu",
) -> TrainConfig:
    """The recipe of a name, changed.

    Args:
        name: one of `RECIPES`.
        recipe: "cpu", ours, or "original", as the authors trained it, for one of `ORIGINALS`.
        overrides: words such as `network.d_model=128`, see `recurra.core.cli.load_config`.
        options: fields of the recipe; None leaves one as it is.

    Raises:
        RecurraError: there is no such recipe, or a change does not fit.
    """
    if name not in RECIPES:
        raise RecurraError(f"no model {name!r}; known are {', '.join(RECIPES)}")
    if recipe not in ("cpu", "original"):
        raise RecurraError(f"no recipe {recipe!r}; known are cpu, original")
    if recipe == "original" and name not in ORIGINALS:
        raise RecurraError(f"no original recipe of {name}; there is one of {', '.join(ORIGINALS)}")
    start = (RECIPES if recipe == "cpu" else ORIGINALS)[name]
    given = {key: value for key, value in (options or {}).items() if value is not None}
    return load_config(TrainConfig, None, overrides, start=replace(start, **given))
