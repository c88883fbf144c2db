"""Rotary position embedding: a step's place as a rotation of pairs of channels."""

from typing import Literal

import torch
from torch import Tensor, nn

from recurra.core.kernels.lengths import zero_beyond

State = dict[str, Tensor]


class RotaryEmbedding(nn.Module):
    """Turn pair i of the first `dim` channels by t * theta ** (-2 i / dim) at step t.

    The product of a query and a key that were both turned depends on their distance, not on their
    places. It is linear in x, has no parameters and costs O(T). A stream keeps one number a row,
    the steps so far; angles are computed in float64, so that a stream of days stays exact.

    Source: Su et al. 2021, "RoFormer" (arXiv 2104.09864, section 3.2.2). With `dim` below the
    number of channels it is partial, as in MossFormer2 (dim 32 of 128, interleaved pairs, as in the
    package rotary-embedding-torch).

    Args:
        dim: how many channels are turned, from the first on; an even number.
        theta: the base of the wavelengths.
        pairs: "interleaved" turns channels (0, 1), (2, 3), ... together, as the paper does;
            "halves" turns (i, i + dim / 2), as Llama does. Weights made for one are wrong for the
            other.
    """

    causal = True
    streams = True
    is_linear = True
    look_ahead = 0

    def __init__(
        self,
        dim: int,
        *,
        theta: float = 10_000.0,
        pairs: Literal["interleaved", "halves"] = "interleaved",
    ) -> None:
        super().__init__()
        if dim % 2 or dim < 2:
            raise ValueError(f"dim must be even and at least 2, not {dim}")
        if pairs not in ("interleaved", "halves"):
            raise ValueError(f'pairs must be "interleaved" or "halves", not "{pairs}"')
        self.dim = dim
        self.theta = theta
        self.pairs = pairs

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Turn each step of x by its place.

        Args:
            x: (B, T, C), or (B, T, ..., C), where the axes between share the angles.
            state: what `forward` or `initial_state` returned before.
            lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the
                row changes nothing, whatever stands there, and its y is zero.

        Returns:
            y in the shape and dtype of x, and the state: "position" (B,), each row's steps so far.

        Raises:
            ValueError: x has fewer than `dim` channels.
        """
        if x.shape[-1] < self.dim:
            raise ValueError(f"x has {x.shape[-1]} channels, fewer than dim {self.dim}")
        position = (state or self.initial_state(x))["position"]
        y = self.rotate(zero_beyond(lengths, x)[0], position)
        return y, {"position": position + (x.shape[1] if lengths is None else lengths)}

    def rotate(self, x: Tensor, position: Tensor) -> Tensor:
        """Turn x (B, T, ..., C), whose first steps are at `position` (B,)."""
        # Metal has no float64.
        wide = torch.float32 if x.device.type == "mps" else torch.float64
        i = torch.arange(0, self.dim, 2, device=x.device, dtype=wide)
        steps = position[:, None] + torch.arange(x.shape[1], device=x.device)  # (B, T)
        angles = steps[..., None] * self.theta ** (-i / self.dim)  # (B, T, dim / 2)
        angles = angles.reshape(*steps.shape, *(1,) * (x.dim() - 3), self.dim // 2)
        dtype = torch.promote_types(x.dtype, torch.float32)
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        turned, rest = x[..., : self.dim].to(dtype), x[..., self.dim :]
        if self.pairs == "interleaved" and not torch.compiler.is_exporting():
            # One complex product a pair, several times as fast as the terms; ONNX has none. A view
            # as complex numbers begins at an even place of its memory, as a copy does.
            in_place = turned.is_contiguous() and turned.storage_offset() % 2 == 0
            turned = turned if in_place else turned.clone(memory_format=torch.contiguous_format)
            numbers = torch.view_as_complex(torch.unflatten(turned, -1, (-1, 2)))
            turned = torch.view_as_real(numbers * torch.complex(cos, sin)).flatten(-2)
        elif self.pairs == "interleaved":
            first, second = torch.unflatten(turned, -1, (-1, 2)).unbind(-1)
            both = (first * cos - second * sin, second * cos + first * sin)
            turned = torch.stack(both, dim=-1).flatten(-2)
        else:
            first, second = turned.chunk(2, dim=-1)
            turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
        turned = turned.to(x.dtype)
        return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned

    def initial_state(self, x: Tensor) -> State:
        """Return the state before the first step, for the rows of x (B, T, ...)."""
        return {"position": torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)}

    def state_size(self) -> int:
        """Return how many numbers a row keeps: its position."""
        return 1
