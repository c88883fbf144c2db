"""The yardstick of MossFormer2's speed: the official networks' own formulation, written plainly.

Features are (B, C, T) around the blocks and (B, T, C) inside, with a transposition at every
border; projections are convolutions of one tap; v and u, and the queries and keys, are attended,
padded and turned one by one; filters are depthwise convolutions of (B, C, T). The enhancer computes
both of its masks. Layers carry the names of the official checkpoints, so that their tensors load as
they are.

Source: `MossFormer2_SS_16K` and `MossFormer2_SE_48K` of ClearerVoice-Studio (Apache-2.0), as the
project's facts page describes them. Nothing here is part of the packages.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

VECTORS = Path(__file__).parents[1] / "tests/speech/models/vectors"
D_MODEL, D_INNER, D_KEY, GROUP, N_BLOCKS = 512, 256, 128, 256, 24


class ScaleNorm(nn.Module):
    """Divide by the length of each frame in units of sqrt(C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = width**-0.5
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, T, C)."""
        norm = torch.norm(x, dim=-1, keepdim=True) * self.scale
        return x / norm.clamp(min=1e-5) * self.g


class Transposed(nn.Module):
    """A depthwise convolution along time of x (B, T, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 17, padding=8, groups=width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Filter x (B, T, C)."""
        return self.conv(x.transpose(1, 2))


class Residual(nn.Module):
    """x + filter(x); the names are those of the official `ConvModule`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sequential = nn.Sequential(nn.Identity(), Transposed(width))

    def forward(self, x: Tensor) -> Tensor:
        """Filter x (B, T, C)."""
        return x + self.sequential(x).transpose(1, 2)


def conv_module(norm: nn.Module, d_in: int, d_out: int) -> nn.Module:
    """Return norm, projection, SiLU and filter, called `mdl.0` to `mdl.3`."""
    module = nn.Module()
    module.mdl = nn.Sequential(norm, nn.Linear(d_in, d_out), nn.SiLU(), Residual(d_out))
    module.forward = module.mdl.forward
    return module


class Attention(nn.Module):
    """Gated attention, one product a value."""

    def __init__(self) -> None:
        super().__init__()
        self.to_hidden = conv_module(ScaleNorm(D_MODEL), D_MODEL, 4 * D_MODEL)
        self.to_qk = conv_module(ScaleNorm(D_MODEL), D_MODEL, D_KEY)
        self.qk_offset_scale = nn.Module()
        self.qk_offset_scale.gamma = nn.Parameter(torch.ones(4, D_KEY))
        self.qk_offset_scale.beta = nn.Parameter(torch.zeros(4, D_KEY))
        self.to_out = conv_module(ScaleNorm(2 * D_MODEL), 2 * D_MODEL, D_MODEL)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over x (B, T, C)."""
        late, kept = x.chunk(2, dim=-1)
        shifted = torch.cat([functional.pad(late, (0, 0, 1, -1)), kept], dim=-1)
        v, u = self.to_hidden(shifted).chunk(2, dim=-1)
        scaled = self.to_qk(shifted)[..., None, :] * self.qk_offset_scale.gamma
        heads = (scaled + self.qk_offset_scale.beta).unbind(dim=-2)
        q, q_linear, k, k_linear = (turned(head) for head in heads)
        n = x.shape[1]
        padding = -n % GROUP
        mask = torch.ones(x.shape[0], n, dtype=torch.bool) if padding else None
        if mask is not None:
            q, q_linear, k, k_linear, v, u = (
                functional.pad(t, (0, 0, 0, padding)) for t in (q, q_linear, k, k_linear, v, u)
            )
            mask = functional.pad(mask, (0, padding)).unflatten(1, (-1, GROUP))[:, :, None]
        groups = (t.unflatten(1, (-1, GROUP)) for t in (q, q_linear, k, k_linear, v, u))
        q, q_linear, k, k_linear, v_groups, u_groups = groups
        weights = functional.relu(torch.einsum("bgid,bgjd->bgij", q, k) / GROUP) ** 2
        weights = weights if mask is None else weights.masked_fill(~mask, 0.0)
        attended = []
        for value in (v_groups, u_groups):
            memory = torch.einsum("bgnd,bgne->bde", k_linear, value) / n
            far = torch.einsum("bgnd,bde->bgne", q_linear, memory)
            near = torch.einsum("bgij,bgjd->bgid", weights, value)
            attended.append((near + far).flatten(1, 2)[:, :n])
        gated = (attended[1] * v[:, :n]) * torch.sigmoid(attended[0] * u[:, :n])
        return x + self.to_out(gated)


def turned(x: Tensor, dim: int = 32) -> Tensor:
    """Turn pairs of the first channels of x (B, T, C) by their places."""
    rates = 10_000.0 ** (-torch.arange(0, dim, 2) / dim)
    angles = (torch.arange(x.shape[1])[:, None] * rates).repeat_interleave(2, dim=-1)
    first, rest = x[..., :dim], x[..., dim:]
    odd, even = first.unflatten(-1, (-1, 2)).unbind(-1)
    across = torch.stack([-even, odd], dim=-1).flatten(-2)
    return torch.cat([first * angles.cos() + across * angles.sin(), rest], dim=-1)


class Frames(nn.LayerNorm):
    """A layer norm of each frame of x (B, C, T)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, T)."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class PlainMemory(nn.Module):
    """x + p + filter(p), the filter over images of one column."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(D_INNER, D_INNER)
        self.project = nn.Linear(D_INNER, D_INNER, bias=False)
        self.conv1 = nn.Conv2d(D_INNER, D_INNER, (39, 1), groups=D_INNER, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Remember x (B, T, C)."""
        p = self.project(functional.relu(self.linear(x)))
        image = p.unsqueeze(1).permute(0, 3, 2, 1)
        out = image + self.conv1(functional.pad(image, (0, 0, 19, 19)))
        return x + out.permute(0, 3, 2, 1).squeeze(1)


class DenseMemory(nn.Module):
    """x + two dilated filters, the second over what the first gave and what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(D_INNER, D_INNER)
        self.project = nn.Linear(D_INNER, D_INNER, bias=False)
        self.conv = nn.Module()
        for i in (1, 2):
            conv = nn.Conv2d(
                i * D_INNER, D_INNER, (39, 1), dilation=(i, 1), groups=D_INNER, bias=False
            )
            self.conv.add_module(f"conv{i}", conv)
            self.conv.add_module(f"norm{i}", nn.InstanceNorm2d(D_INNER, affine=True))
            self.conv.add_module(f"prelu{i}", nn.PReLU(D_INNER))

    def forward(self, x: Tensor) -> Tensor:
        """Remember x (B, T, C)."""
        p = self.project(functional.relu(self.linear(x)))
        seen = out = p.unsqueeze(1).permute(0, 3, 2, 1)
        for i in (1, 2):
            padded = functional.pad(seen, (0, 0, 19 * i, 19 * i))
            out = self.conv.get_submodule(f"conv{i}")(padded)
            out = self.conv.get_submodule(f"norm{i}")(out)
            out = self.conv.get_submodule(f"prelu{i}")(out)
            seen = torch.cat([out, seen], dim=1)
        return x + out.permute(0, 3, 2, 1).squeeze(1)


class GatedMemory(nn.Module):
    """Gated FSMN between two convolutions of one tap."""

    def __init__(self, memory: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv1d(D_MODEL, D_INNER, 1), nn.PReLU())
        self.norm1, self.norm2 = Frames(D_INNER), Frames(D_INNER)
        self.gated_fsmn = nn.Module()
        self.gated_fsmn.to_u = conv_module(nn.LayerNorm(D_INNER), D_INNER, D_INNER)
        self.gated_fsmn.to_v = conv_module(nn.LayerNorm(D_INNER), D_INNER, D_INNER)
        self.gated_fsmn.fsmn = memory
        self.conv2 = nn.Conv1d(D_INNER, D_MODEL, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Remember x (B, T, C)."""
        h = self.norm1(self.conv1(x.transpose(1, 2))).transpose(1, 2)
        u, v = self.gated_fsmn.to_u(h), self.gated_fsmn.to_v(h)
        gated = v * self.gated_fsmn.fsmn(u) + h
        return self.conv2(self.norm2(gated.transpose(1, 2))).transpose(1, 2) + x


class MaskNet(nn.Module):
    """Features (B, d_in, T) to masks (n_masks, B, d_out, T)."""

    def __init__(self, d_in: int, d_out: int, n_masks: int, memory: type[nn.Module]) -> None:
        super().__init__()
        self.n_masks = n_masks
        self.norm = nn.GroupNorm(1, d_in, eps=1e-8)
        self.conv1d_encoder = nn.Conv1d(d_in, D_MODEL, 1, bias=False)
        self.pos_enc = nn.Module()
        self.pos_enc.scale = nn.Parameter(torch.ones(1))
        home = nn.Module()
        home.layers = nn.ModuleList(Attention() for _ in range(N_BLOCKS))
        home.fsmn = nn.ModuleList(GatedMemory(memory()) for _ in range(N_BLOCKS))
        self.mdl = nn.Module()
        self.mdl.intra_mdl = nn.Module()
        self.mdl.intra_mdl.mossformerM = home
        self.mdl.intra_mdl.norm = nn.LayerNorm(D_MODEL, eps=1e-6)
        self.mdl.intra_norm = nn.GroupNorm(1, D_MODEL, eps=1e-8)
        self.prelu = nn.PReLU()
        self.conv1d_out = nn.Conv1d(D_MODEL, n_masks * D_MODEL, 1)
        self.output = nn.Sequential(nn.Conv1d(D_MODEL, D_MODEL, 1), nn.Tanh())
        self.output_gate = nn.Sequential(nn.Conv1d(D_MODEL, D_MODEL, 1), nn.Sigmoid())
        self.conv1_decoder = nn.Conv1d(D_MODEL, d_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, d_in, T)."""
        x = self.conv1d_encoder(self.norm(x))
        rates = 10_000.0 ** (-torch.arange(0, D_MODEL, 2) / D_MODEL)
        angles = torch.arange(x.shape[2])[:, None] * rates
        places = torch.cat([angles.sin(), angles.cos()], dim=-1) * self.pos_enc.scale
        x = x + places.transpose(0, 1)
        y = x.permute(0, 2, 1).contiguous()
        home = self.mdl.intra_mdl
        for layer, memory in zip(home.mossformerM.layers, home.mossformerM.fsmn, strict=True):
            y = memory(layer(y))
        y = home.norm(y).permute(0, 2, 1).contiguous()
        y = self.conv1d_out(self.prelu(self.mdl.intra_norm(y) + x))
        y = y.view(y.shape[0] * self.n_masks, -1, y.shape[2])
        y = self.conv1_decoder(self.output(y) * self.output_gate(y))
        masks = functional.relu(y).view(-1, self.n_masks, *y.shape[1:])
        return masks.transpose(0, 1)


class ReferenceSeparator(nn.Module):
    """MossFormer2_SS_16K: audio (B, n) to (B, n, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Module()
        self.enc.conv1d = nn.Conv1d(1, D_MODEL, 16, stride=8, bias=False)
        self.mask_net = MaskNet(D_MODEL, D_MODEL, 2, DenseMemory)
        self.dec = nn.ConvTranspose1d(D_MODEL, 1, 16, stride=8, bias=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Separate audio (B, n); samples after the last whole frame are zeros."""
        filtered = functional.relu(self.enc.conv1d(audio[:, None]))
        masked = torch.stack([filtered] * 2) * self.mask_net(filtered)
        voices = torch.cat([self.dec(voice).transpose(1, 2) for voice in masked], dim=-1)
        return functional.pad(voices, (0, 0, 0, audio.shape[1] - voices.shape[1]))


class ReferenceEnhancer(nn.Module):
    """MossFormer2_SE_48K without its transforms: features (B, T, 180) to a mask (B, T, 961)."""

    def __init__(self) -> None:
        super().__init__()
        self.mossformer = MaskNet(180, 961, 2, PlainMemory)

    def forward(self, features: Tensor) -> Tensor:
        """Return the first of the two masks."""
        return self.mossformer(features.transpose(1, 2))[0].transpose(1, 2)


def recipe_checkpoint(name: str) -> dict[str, Tensor]:
    """Return weights for every official name of `name`, such as "MossFormer2_SS_16K".

    They are those of the full-size numbers in tests/speech/models/vectors: each tensor is drawn
    from a generator seeded with the CRC-32 of its name.
    """
    specs = json.loads((VECTORS / f"{name}.json").read_text())
    return {key: _draw(key, tuple(spec["shape"])) for key, spec in specs.items()}


def _draw(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith((".freqs", ".inv_freq")):
        return 10_000.0 ** (-torch.arange(shape[0]) / shape[0])
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    values = generator.standard_normal(shape, dtype=np.float32)
    if len(shape) <= 1 or values.size == max(shape):
        centre = 1.0 if key.endswith(("weight", ".g", ".scale")) else 0.0
        if "prelu" in key or key.endswith("conv1.1.weight"):
            centre = 0.25
        values = centre + 0.05 * values
    elif "gamma" in key:
        values = 1 + 0.1 * values
    elif "beta" in key:
        values = 0.05 * values
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def build(name: str) -> nn.Module:
    """Return the yardstick for `name` with the recipe's weights, ready for inference."""
    model = ReferenceSeparator() if "_SS_" in name else ReferenceEnhancer()
    checkpoint = recipe_checkpoint(name)
    model.load_state_dict({key: checkpoint[key] for key in model.state_dict()})
    return model.eval()
