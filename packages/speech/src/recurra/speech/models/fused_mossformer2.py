"""The layers of MossFormer2 as they run in inference: the same numbers in fewer passes over memory.

Gains and scales are folded into the projections beside them, projections of one input are one
product, and filters read their input where the product before left it. The attention takes one
group of frames through all its steps before it turns to the next, so that what is widest stays in
the processor's cache. `benchmarks/mossformer2_speed.py` measures the gain.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.kernels import fir
from recurra.core.layers import GatedAttention, GatedFsmn
from recurra.core.layers.conv_module import ConvModule, ScaleNorm

State = dict[str, Tensor]


class FusedGatedAttention(nn.Module):
    """A `GatedAttention` that is not causal, on whole rows."""

    def __init__(self, layer: GatedAttention) -> None:
        super().__init__()
        self.to_hidden_qk = FusedConvModules(layer.to_hidden, layer.to_qk)
        self.to_out = FusedConvModules(layer.to_out)
        self.gamma, self.beta, self.rotary = layer.gamma, layer.beta, layer.rotary
        self.group = layer.group
        self.d_late = -(-layer.d_model // 2)
        self.d_hidden = layer.to_hidden.linear.out_features

    def forward(self, x: Tensor) -> tuple[Tensor, State]:
        """Attend over the steps of x (B, T, C)."""
        late = functional.pad(x[:, :-1, : self.d_late], (0, 0, 1, 0))
        shifted = torch.cat([late, x[..., self.d_late :]], dim=-1)
        groups = [
            slice(start, min(start + self.group, x.shape[1]))
            for start in range(0, x.shape[1], self.group)
        ]
        line = self.to_hidden_qk.new_line(x)
        for steps in groups:
            self.to_hidden_qk.put(line, steps, shifted[:, steps])
        heads, memory = [], x.new_zeros(())
        for steps in groups:
            filtered = self.to_hidden_qk.filtered(line, steps)
            hidden, qk = filtered[..., : self.d_hidden], filtered[..., self.d_hidden :]
            q, q_linear, k, k_linear = self._heads(qk, steps.start)
            heads.append((q, q_linear, k))
            memory = memory + k_linear.mT @ hidden  # (B, N, P)
            # The groups to come read the line from their own first step on.
            line[:, steps, : self.d_hidden] = hidden
        memory = memory / x.shape[1]
        out = self.to_out.new_line(x)
        for steps, (q, q_linear, k) in zip(groups, heads, strict=True):
            hidden = line[:, steps, : self.d_hidden]
            weights = torch.relu_(q @ k.mT / self.group).square_()
            attended = torch.baddbmm(q_linear @ memory.to(q), weights, hidden)
            (v, u), (v_attended, u_attended) = hidden.chunk(2, -1), attended.chunk(2, -1)
            gated = u_attended.mul_(v).mul_(v_attended.mul_(u).sigmoid_())
            self.to_out.put(out, steps, gated)
        return x + self.to_out.filtered(out, slice(0, x.shape[1])), {}

    def _heads(self, qk: Tensor, start: int) -> tuple[Tensor, ...]:
        """Return queries and keys of both sums (B, T, N), turned by their places from `start`."""
        heads = (qk[:, :, None] * self.gamma + self.beta).to(qk.dtype)  # (B, T, 4, N)
        position = torch.full((1,), start, device=qk.device)
        return self.rotary.rotate(heads, position).unbind(2)


class FusedGatedFsmn(nn.Module):
    """A `GatedFsmn` on whole rows."""

    def __init__(self, layer: GatedFsmn) -> None:
        super().__init__()
        self.reduce, self.prelu, self.norm_in = layer.reduce, layer.prelu, layer.norm_in
        self.to_u_v = FusedConvModules(layer.to_u, layer.to_v)
        self.memory, self.norm_out, self.expand = layer.memory, layer.norm_out, layer.expand

    def forward(self, x: Tensor) -> tuple[Tensor, State]:
        """Add the gated memory of the steps around each step of x (B, T, C)."""
        h = self.norm_in(self.prelu(self.reduce(x)))
        whole = slice(0, x.shape[1])
        line = self.to_u_v.new_line(x)
        self.to_u_v.put(line, whole, h)
        u, v = self.to_u_v.filtered(line, whole).chunk(2, dim=-1)
        h = torch.addcmul(h, v, self.memory(u)[0])
        return x + self.expand(self.norm_out(h)), {}


class FusedConvModules(nn.Module):
    """Convolution modules of one input, side by side: norm, one product, SiLU, one filter.

    Between product and filter frames lie in a line (B, T + taps - 1, C), with zeros at both ends,
    so that the filter needs no padding and pieces of it no copies.
    """

    def __init__(self, *modules: ConvModule) -> None:
        super().__init__()
        self.scaled = isinstance(modules[0].norm, ScaleNorm)
        folded = [_without_affine(module) for module in modules]
        self.weight = nn.Parameter(torch.cat([weight for weight, _ in folded]))
        self.bias = nn.Parameter(torch.cat([bias for _, bias in folded]))
        taps = torch.cat([module.conv.weight.detach() for module in modules]).permute(2, 0, 1)
        self.reach = taps.shape[0] // 2
        taps = taps.clone()
        taps[self.reach] += 1  # the module's residual
        self.taps = nn.Parameter(taps.contiguous())

    def new_line(self, x: Tensor) -> Tensor:
        """Return a line for the frames of x (B, T, .), in the dtype that products have."""
        kind, dtype = x.device.type, x.dtype
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        n_frames = x.shape[1] + 2 * self.reach
        line = x.new_empty(x.shape[0], n_frames, self.bias.shape[0], dtype=dtype)
        line[:, : self.reach] = 0
        line[:, n_frames - self.reach :] = 0
        return line

    def put(self, line: Tensor, steps: slice, x: Tensor) -> None:
        """Project x (B, n, C), the frames of `steps`, into their places in the line."""
        if self.scaled:
            norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
            normed = x * (norm * x.shape[-1] ** -0.5).clamp(min=1e-5).reciprocal().to(x.dtype)
        else:
            normed = functional.layer_norm(x, x.shape[-1:])
        y = functional.silu(functional.linear(normed, self.weight, self.bias), inplace=True)
        line[:, steps.start + self.reach : steps.stop + self.reach] = y

    def filtered(self, line: Tensor, steps: slice) -> Tensor:
        """Return the modules' outputs (B, n, C) at `steps`."""
        around = line[:, steps.start : steps.stop + 2 * self.reach]
        return fir(around, self.taps.to(line.dtype), left=0)[0]


def _without_affine(module: ConvModule) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a module's projection with the gains of its norm inside."""
    weight, bias, norm = module.linear.weight.detach(), module.linear.bias.detach(), module.norm
    if isinstance(norm, ScaleNorm):
        return weight * norm.g.detach(), bias
    return weight * norm.weight.detach(), bias + weight @ norm.bias.detach()
