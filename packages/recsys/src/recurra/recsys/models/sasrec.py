"""SASRec: a transformer that looks back, and at each event predicts the next one.

Source: Kang and McAuley 2018, "Self-Attentive Sequential Recommendation" (arXiv 1808.09781):
embeddings times the root of their width, layers that normalise before, a last norm, and scores by
the table of item embeddings. Its releases fill rows up in front, so that places are counted from a
row's end; here rows are filled up behind and counted from their ends all the same ("inverse").
As RecTools has it, and not the release, the feedforward part is four times as wide and has GELU,
and what is added to is x and not its norm.
"""

from dataclasses import dataclass
from typing import Literal

from recurra.recsys.models.next_item import NextItemConfig, NextItemModel


@dataclass(frozen=True, kw_only=True)
class SasRecConfig(NextItemConfig):
    """A SASRec; the fields that differ from `NetworkConfig` are as the original has them."""

    norm_eps: float = 1e-8
    layer: Literal["post-norm", "pre-norm", "ligr"] = "pre-norm"
    positions: Literal["learned", "inverse", "rotary", "none"] = "inverse"


class SasRec(NextItemModel):
    """Score every item as what comes after each event of a history."""

    config_class = SasRecConfig
    kind = "sasrec"
    config: SasRecConfig
    causal = True

    def __init__(self, config: SasRecConfig) -> None:
        super().__init__(config)
        self.item_scale = config.d_model**0.5
        self.initialise()
