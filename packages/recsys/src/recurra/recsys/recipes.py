"""Networks and how they are trained, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from recurra.core.cli import load_config
from recurra.core.errors import RecurraError
from recurra.recsys.models import NetworkConfig
from recurra.recsys.train import LossConfig, TrainConfig

_SASREC = NetworkConfig(layer="pre-norm", positions="inverse", norm_eps=1e-8)

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
        network=NetworkConfig(layer="ligr", positions="inverse", norm_eps=1e-5),
        loss=LossConfig("sampled-softmax"),
    ),
}


def load_recipe(
    name: str, overrides: Sequence[str] = (), options: Mapping[str, object] | None = None
) -> TrainConfig:
    """The recipe of a name, changed.

    Args:
        name: one of `RECIPES`.
        overrides: words such as `network.d_model=128`, see `recurra.core.cli.load_config`.
        options: fields of the recipe; None leaves one as it is.

    Raises:
        RecurraError: there is no such recipe, or a change does not fit.
    """
    if name not in RECIPES:
        raise RecurraError(f"no model {name!r}; known are {', '.join(RECIPES)}")
    given = {key: value for key, value in (options or {}).items() if value is not None}
    return load_config(TrainConfig, None, overrides, start=replace(RECIPES[name], **given))
