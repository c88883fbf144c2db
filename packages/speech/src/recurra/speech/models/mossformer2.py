"""MossFormer2's stack: from features of frames to masks, for separation and enhancement alike.

Source: Zhao et al. 2023, "MossFormer2: Combining Transformer and RNN-Free Recurrent Network for
Enhanced Time-Domain Monaural Speech Separation" (arXiv 2312.11825), as released in
ClearerVoice-Studio (`MossFormer2_SS_16K`, `MossFormer2_SE_48K`). What stands before and after the
stack is in `mossformer2_ss.py` and `mossformer2_se.py`.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from recurra.core.layers import GatedAttention, GatedFsmn
from recurra.speech.models.fused_mossformer2 import FusedBlocks


@dataclass(frozen=True)
class MossFormer2StackConfig:
    """The sizes of the stack; the defaults are the official ones.

    Separation and enhancement have the same stack but for `memory` and what is fed in and asked
    for: features and masks of 512 filters for each speaker there, 180 features and one mask of 961
    frequencies here.

    Attributes:
        n_blocks: blocks of a gated attention and a gated FSMN.
        d_model: channels between the blocks.
        d_inner: channels inside a gated FSMN.
        d_key: width of the attention's queries and keys.
        group: frames that attend to each other by squared ReLU.
        rotary_dim: channels of queries and keys that are turned by their place.
        memory: what a gated FSMN remembers with. "dense", as separation has it: two dilated filters
            of which the second reads the output of the first and, in other groups, its input (the
            grouped dense connection), each normalised over the whole row, with no residual inside:
            x + filters(p). "plain", as enhancement has it: one filter, as far ahead as back (the
            symmetric FSMN), beside an inner residual: x + p + filter(p).
        dropout: of attention weights and convolution modules, in training.
    """

    n_blocks: int = 24
    d_model: int = 512
    d_inner: int = 256
    d_key: int = 128
    group: int = 256
    rotary_dim: int = 32
    memory: Literal["plain", "dense"] = "plain"
    dropout: float = 0.1


class MossFormer2Block(nn.Module):
    """A gated attention, then a gated FSMN: x (B, T, C) to the same shape."""

    def __init__(self, config: MossFormer2StackConfig) -> None:
        super().__init__()
        self.attention = GatedAttention(
            config.d_model,
            d_key=config.d_key,
            group=config.group,
            rotary_dim=config.rotary_dim,
            dropout=config.dropout,
        )
        self.memory = GatedFsmn(
            config.d_model, config.d_inner, memory=config.memory, dropout=config.dropout
        )

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then remember."""
        attended, _ = self.attention(x)
        remembered: Tensor = self.memory(attended)[0]
        return remembered


class MossFormer2Stack(nn.Module):
    """Features (B, T, d_in) in, masks (B, n_masks, T, d_out) of at least 0 out.

    Every norm but those inside the blocks, and the attention's linear half, go over whole rows: a
    piece of a recording gives other masks than the same piece inside of it.
    """

    def __init__(
        self, config: MossFormer2StackConfig, *, d_in: int, d_out: int, n_masks: int
    ) -> None:
        super().__init__()
        d_model = config.d_model
        self.n_masks = n_masks
        self.norm_in = GlobalLayerNorm(d_in)
        self.encode = nn.Linear(d_in, d_model, bias=False)
        self.position_scale = nn.Parameter(torch.ones(1))
        self.blocks = nn.ModuleList(MossFormer2Block(config) for _ in range(config.n_blocks))
        self.norm_blocks = nn.LayerNorm(d_model, eps=1e-6)
        self.norm_out = GlobalLayerNorm(d_model)
        self.prelu = nn.PReLU()
        self.split = nn.Linear(d_model, n_masks * d_model)
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.decode = nn.Linear(d_model, d_out, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, T, d_in) to masks (B, n_masks, T, d_out)."""
        x = self.encode(self.norm_in(features))
        x = x + self.position_scale.to(x.dtype) * sinusoids(x)
        y = x
        for block in self.blocks:
            y = block(y)
        y = self.prelu(x + self.norm_out(self.norm_blocks(y)))
        heads = self.split(y).unflatten(-1, (self.n_masks, -1)).transpose(1, 2)  # (B, M, T, C)
        heads = torch.tanh(self.value(heads)) * torch.sigmoid(self.gate(heads))
        return torch.relu(self.decode(heads))

    def fuse(self) -> None:
        """Turn the blocks into their fast form, in place, for inference only.

        On another device than a CPU they stay as they are: its kernels are in the layers.
        """
        if self.encode.weight.device.type == "cpu" and not isinstance(self.blocks[0], FusedBlocks):
            pairs = [(block.attention, block.memory) for block in self.blocks]
            self.blocks = nn.ModuleList([FusedBlocks(pairs)])


class GlobalLayerNorm(nn.Module):
    """Normalise each row of (B, T, C) over its frames and channels, then scale each channel.

    Source: Luo and Mesgarani 2019, "Conv-TasNet" (arXiv 1809.07454, eq. 16); the official code has
    it as a `GroupNorm` of one group with eps 1e-8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, T, C); the sums are in float32 or better."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        centred = wide - wide.mean(dim=(1, 2), keepdim=True)
        scale = (centred.square().mean(dim=(1, 2), keepdim=True) + 1e-8).rsqrt()
        return (centred * scale * self.weight + self.bias).to(x.dtype)


def sinusoids(like: Tensor) -> Tensor:
    """Return the places of frames as sines, then cosines: (T, C), for `like` (B, T, C), C even.

    Source: Vaswani et al. 2017, "Attention Is All You Need" (arXiv 1706.03762, section 3.5), with
    all sines first: `ScaledSinuEmbedding` of ClearerVoice-Studio.
    """
    n_frames, channels = like.shape[1:]
    # Metal has no float64.
    wide = torch.float32 if like.device.type == "mps" else torch.float64
    rates = 10_000.0 ** (-torch.arange(0, channels, 2, device=like.device, dtype=wide) / channels)
    angles = torch.arange(n_frames, device=like.device, dtype=wide)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(like.dtype)
