"""The transformer layer of BERT, as BERT4Rec uses it."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class TransformerLayer(nn.Module):
    """Attention over all steps and a network of two linear layers, each added and normalised after.

    h = LN(x + drop(W_o attention(x))), y = LN(h + drop(W_2 gelu(W_1 h))), GELU by the error
    function. Time is quadratic in T.

    Source: Vaswani et al. 2017 (arXiv 1706.03762, section 3.1) with BERT's GELU, as in
    FeiSun/BERT4Rec `modeling.py`.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_hidden: int,
        *,
        dropout: float,
        attention_dropout: float,
        norm_eps: float,
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} does not divide into {n_heads} heads")
        self.n_heads = n_heads
        self.attention_dropout = attention_dropout
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)
        self.attention_norm = nn.LayerNorm(d_model, norm_eps)
        self.widen = nn.Linear(d_model, d_hidden)
        self.narrow = nn.Linear(d_hidden, d_model)
        self.norm = nn.LayerNorm(d_model, norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, at: Tensor | None = None) -> Tensor:
        """Map x (B, T, C) to the same shape, or to (B, 1, C) where one step is all that is wanted.

        Args:
            x: (B, T, C).
            mask: (B, T) bool, the steps that are attended to; None attends to all.
            at: (B,) int64, the only step of each row to compute; None computes all.
        """
        if at is None:
            wanted = x
            q, k, v = self._heads(self.query_key_value(x)).unbind(2)  # each (B, T, H, D)
        else:
            width = x.shape[2]
            weight, bias = self.query_key_value.weight, self.query_key_value.bias
            wanted = x[torch.arange(len(x), device=x.device), at].unsqueeze(1)
            q = self._heads(functional.linear(wanted, weight[:width], bias[:width])).squeeze(2)
            k, v = self._heads(functional.linear(x, weight[width:], bias[width:])).unbind(2)
        attended = functional.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=None if mask is None else mask[:, None, None, :],
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        attended = attended.transpose(1, 2).flatten(2)
        h = self.attention_norm(wanted + self.dropout(self.output(attended)))
        wide = functional.gelu(self.widen(h))
        return self.norm(h + self.dropout(self.narrow(wide)))

    def _heads(self, x: Tensor) -> Tensor:
        """Split (B, T, n * C) into (B, T, n, H, D)."""
        return x.unflatten(2, (-1, self.n_heads, self.output.in_features // self.n_heads))
