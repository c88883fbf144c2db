"""Layers of a transformer: mixing of steps, then a network for each step, both added to x.

Their states are those of the mixing.
"""

from torch import Tensor, nn
from torch.nn import functional

from recurra.core.layers import SwiGLU
from recurra.recsys.models.dropout import Dropout
from recurra.recsys.models.mixing import Rows, State


class TransformerLayer(nn.Module):
    """The layer of BERT, which normalises after adding, or the one that normalises before.

    After: h = LN(x + drop(mix(x))), y = LN(h + drop(W_2 gelu(W_1 h))). Before:
    h = x + drop(mix(LN(x))), y = h + drop(W_2 gelu(W_1 LN(h))). GELU is by the error function.

    Source: Vaswani et al. 2017 (arXiv 1706.03762, section 3.1) with BERT's GELU, as in
    FeiSun/BERT4Rec `modeling.py`; before: Xiong et al. 2020 (arXiv 2002.04745), as in RecTools.

    Args:
        mixing: of the module `mixing`.
        d_model: C.
        d_hidden: inner width of the network.
        dropout: of what is added.
        norm_eps: of the layer norms.
        norm_first: whether to normalise before.
    """

    def __init__(
        self,
        mixing: nn.Module,
        d_model: int,
        d_hidden: int,
        *,
        dropout: float,
        norm_eps: float,
        norm_first: bool,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.mixing = mixing
        self.mixing_norm = nn.LayerNorm(d_model, norm_eps)
        self.widen = nn.Linear(d_model, d_hidden)
        self.narrow = nn.Linear(d_hidden, d_model)
        self.norm = nn.LayerNorm(d_model, norm_eps)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, rows: Rows, state: State | None = None) -> tuple[Tensor, State]:
        """Map x (B, T, C) to the same shape, or to (B, Q, C) where Q steps are wanted."""
        mixed, after = self.mixing(self.mixing_norm(x) if self.norm_first else x, rows, state)
        h = rows.wanted(x) + self.dropout(mixed)
        if self.norm_first:
            return h + self._network(self.norm(h)), after
        h = self.mixing_norm(h)
        return self.norm(h + self._network(h)), after

    def _network(self, x: Tensor) -> Tensor:
        return self.dropout(self.narrow(functional.gelu(self.widen(x))))


class LigrLayer(nn.Module):
    """A layer that normalises before and lets a gate decide, a channel at a time, what is added.

    h = x + sigmoid(G_1 x) * drop(mix(LN(x))), y = h + sigmoid(G_2 h) * swiglu(LN(h)).

    Source: Borisyuk et al. 2025, "From Features to Transformers: Redefining Ranking for Scalable
    Impact" (arXiv 2502.03417), with the SwiGLU network of eSASRec (Tikhonovich et al. 2025, arXiv
    2508.06450), as RecTools has it.

    Args:
        mixing: of the module `mixing`.
        d_model: C.
        d_hidden: inner width of the network.
        dropout: of what is added.
        norm_eps: of the layer norms.
    """

    def __init__(
        self, mixing: nn.Module, d_model: int, d_hidden: int, *, dropout: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.mixing = mixing
        self.mixing_norm = nn.LayerNorm(d_model, norm_eps)
        self.mixing_gate = nn.Linear(d_model, d_model)
        self.network = SwiGLU(d_model, d_hidden, bias=False, dropout=dropout)
        self.norm = nn.LayerNorm(d_model, norm_eps)
        self.gate = nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, rows: Rows, state: State | None = None) -> tuple[Tensor, State]:
        """Map x (B, T, C) to the same shape, or to (B, Q, C) where Q steps are wanted."""
        mixed, after = self.mixing(self.mixing_norm(x), rows, state)
        x = rows.wanted(x)
        h = x + self.mixing_gate(x).sigmoid() * self.dropout(mixed)
        return h + self.gate(h).sigmoid() * self.network(self.norm(h))[0], after
