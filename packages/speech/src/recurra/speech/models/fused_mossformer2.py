"""The layers of MossFormer2 as they run in inference on a CPU: the same numbers, less memory moved.

Gains and scales are folded into the projections beside them, projections of one input are one
product, and filters read their input where the product before left it. Frames go through a layer a
group at a time, so that what is widest stays in the processor's cache, and every layer writes to
the same `Scratch`: a page of fresh memory costs more than what is written to it.
`benchmarks/mossformer2_speed.py` measures the gain.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.kernels import fir
from recurra.core.layers import DenseFsmn, Fsmn, GatedAttention, GatedFsmn
from recurra.core.layers.conv_module import ConvModule, ScaleNorm


class FusedBlocks(nn.Module):
    """Pairs of a `GatedAttention` and a `GatedFsmn`, one after the other, on whole rows."""

    def __init__(self, layers: Iterable[tuple[GatedAttention, GatedFsmn]]) -> None:
        super().__init__()
        pairs = [(FusedGatedAttention(a), FusedGatedFsmn(m)) for a, m in layers]
        self.layers = nn.ModuleList(layer for pair in pairs for layer in pair)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Run all on x (B, T, C), which stays as it is."""
        x, scratch = x.clone(), Scratch()
        for layer in self.layers:
            layer(x, scratch)
        return x


class Scratch:
    """Memory for what lies between the steps of a layer; the next layer writes over it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, int], Tensor] = {}

    def line(self, name: str, x: Tensor, channels: int, edge: int = 0) -> Tensor:
        """Return (B, T + 2 * edge, channels) for x (B, T, .), in autocast's dtype, edges zero."""
        key = (name, channels, edge)
        if key not in self._kept:
            kind = x.device.type
            low = torch.is_autocast_enabled(kind)
            dtype = torch.get_autocast_dtype(kind) if low else x.dtype
            shape = (x.shape[0], x.shape[1] + 2 * edge, channels)
            self._kept[key] = x.new_empty(shape, dtype=dtype)
        line = self._kept[key]
        line[:, :edge] = 0
        line[:, line.shape[1] - edge :] = 0
        return line


class FusedGatedAttention(nn.Module):
    """A `GatedAttention` that is not causal: adds to x what it attends to."""

    def __init__(self, layer: GatedAttention) -> None:
        super().__init__()
        self.to_hidden_qk = FusedConvModules(layer.to_hidden, layer.to_qk)
        self.to_out = FusedConvModules(layer.to_out)
        self.gamma, self.beta, self.rotary = layer.gamma, layer.beta, layer.rotary
        self.group = layer.group
        self.d_late = -(-layer.d_model // 2)
        self.d_hidden = layer.to_hidden.linear.out_features

    def forward(self, x: Tensor, scratch: Scratch) -> None:
        """Attend over the steps of x (B, T, C), in place."""
        line = self.to_hidden_qk.line(scratch, x)
        groups = _pieces(x, self.group)
        for steps in _pieces(x, 1024):  # the product is wide: fewer rows are slower in MKL
            self.to_hidden_qk.put(line, steps, self._shifted(x, steps))
        attending = []
        memory = line.new_zeros(x.shape[0], self.gamma.shape[1], self.d_hidden)  # (B, N, P)
        for steps in groups:
            hidden, qk = self.to_hidden_qk.filtered(line, steps).tensor_split([self.d_hidden], -1)
            q, q_linear, k, k_linear = self._heads(qk, steps.start)
            memory.baddbmm_(k_linear.mT, hidden, alpha=1 / x.shape[1])
            attending.append((q, q_linear, k, hidden))
        out = self.to_out.line(scratch, x)
        for steps, (q, q_linear, k, hidden) in zip(groups, attending, strict=True):
            weights = torch.relu_(q @ k.mT / self.group).square_()
            attended = (q_linear @ memory).baddbmm_(weights, hidden)
            (v, u), (v_attended, u_attended) = hidden.chunk(2, -1), attended.chunk(2, -1)
            gated = u_attended.mul_(v).mul_(v_attended.mul_(u).sigmoid_())
            self.to_out.put(out, steps, gated)
        for steps in groups:
            x[:, steps] += self.to_out.filtered(out, steps)

    def _shifted(self, x: Tensor, steps: slice) -> Tensor:
        """Return the frames of `steps` with the first half of the channels a step late."""
        late = x[:, max(steps.start - 1, 0) : steps.stop - 1, : self.d_late]
        if steps.start == 0:
            late = functional.pad(late, (0, 0, 1, 0))
        return torch.cat([late, x[:, steps, self.d_late :]], dim=-1)

    def _heads(self, qk: Tensor, start: int) -> tuple[Tensor, ...]:
        """Return queries and keys of both sums (B, T, N), turned by their places from `start`."""
        heads = (qk[:, :, None] * self.gamma + self.beta).to(qk.dtype)  # (B, T, 4, N)
        position = torch.full((1,), start, device=qk.device)
        return self.rotary.rotate(heads, position).unbind(2)


class FusedGatedFsmn(nn.Module):
    """A `GatedFsmn`: adds to x the gated memory of the steps around each step."""

    def __init__(self, layer: GatedFsmn) -> None:
        super().__init__()
        self.reduce = Product(layer.reduce.weight, layer.reduce.bias)
        self.expand = Product(layer.expand.weight, layer.expand.bias)
        self.prelu, self.norm_in, self.norm_out = layer.prelu, layer.norm_in, layer.norm_out
        self.to_u_v = FusedConvModules(layer.to_u, layer.to_v)
        memory = layer.memory
        self.memory = (FusedMemory if isinstance(memory, Fsmn) else FusedDenseMemory)(memory)

    def forward(self, x: Tensor, scratch: Scratch) -> None:
        """Add the memory to x (B, T, C), in place."""
        line = self.to_u_v.line(scratch, x)
        width = line.shape[2] // 2
        h = scratch.line("h", x, width)
        for steps in _pieces(x):
            h[:, steps] = self.norm_in(self.prelu(self.reduce(x[:, steps], h[:, steps])))
            self.to_u_v.put(line, steps, h[:, steps])
        u_v = [self.to_u_v.filtered(line, steps).chunk(2, dim=-1) for steps in _pieces(x)]
        remembered = self.memory([u for u, _ in u_v], x, scratch)
        for steps, (u, v) in zip(_pieces(x), u_v, strict=True):
            gated = torch.addcmul(h[:, steps], v, remembered[:, steps].add_(u))
            out = scratch.line("out", x, x.shape[2])[:, steps]
            x[:, steps] += self.expand(self.norm_out(gated), out)


class FusedMemory(nn.Module):
    """An `Fsmn` that sees as far ahead as back, without the residual around it."""

    def __init__(self, layer: Fsmn) -> None:
        super().__init__()
        self.project = FusedProjection(layer, reach=layer.look_ahead)
        taps = layer.taps.detach().clone()
        taps[layer.look_ahead] += 1  # the layer's inner residual
        self.register_buffer("taps", taps)

    def forward(self, u: list[Tensor], x: Tensor, scratch: Scratch) -> Tensor:
        """Return what is remembered of the `_pieces` u of (B, T, C) at each step."""
        line = self.project(u, x, scratch)
        return fir(line, self.taps.to(line.dtype), left=0)[0]


class FusedDenseMemory(nn.Module):
    """A `DenseFsmn` of depth 2, without the residual around it."""

    def __init__(self, layer: DenseFsmn) -> None:
        super().__init__()
        self.filters = layer.filters
        first, second = (filter_.taps.detach() for filter_ in layer.filters)
        self.reach = first.shape[0] // 2
        self.project = FusedProjection(layer, reach=self.reach)
        self.register_buffer("taps", first)
        # Of the second filter's inputs all first channels of a pair, then all second ones.
        self.register_buffer("pair_taps", second.mT.flatten(1)[..., None].contiguous())

    def forward(self, u: list[Tensor], x: Tensor, scratch: Scratch) -> Tensor:
        """Return what is remembered of the `_pieces` u of (B, T, C) at each step."""
        n_steps, width = x.shape[1], self.taps.shape[1]
        line = self.project(u, x, scratch)
        y = self.filters[0].normed(fir(line, self.taps.to(line.dtype), left=0)[0])
        p = line[:, self.reach : self.reach + n_steps]
        dilation = self.filters[1].dilation
        pairs = scratch.line("pairs", x, 2 * width, dilation * self.reach)
        into = pairs[:, dilation * self.reach :][:, :n_steps]
        seen = torch.cat([y, p], dim=-1)
        into[..., :width], into[..., width:] = seen[..., 0::2], seen[..., 1::2]
        y, _ = fir(pairs, self.pair_taps.to(line.dtype), dilation=dilation, left=0)
        return self.filters[1].normed(y[..., :width] + y[..., width:])


class FusedProjection(nn.Module):
    """What both memories filter, project(relu(linear(u))), with `reach` zeros at both ends."""

    def __init__(self, layer: Fsmn | DenseFsmn, reach: int) -> None:
        super().__init__()
        self.linear = Product(layer.linear.weight, layer.linear.bias)
        self.project = Product(layer.project.weight, layer.project.bias)
        self.reach = reach

    def forward(self, u: list[Tensor], x: Tensor, scratch: Scratch) -> Tensor:
        """Project the `_pieces` u of (B, T, C), for the frames of x: (B, T + 2 * reach, C)."""
        line = scratch.line("projected", x, self.project.bias.shape[0], self.reach)
        hidden = scratch.line("linear", x, self.linear.bias.shape[0])
        for steps, piece in zip(_pieces(x), u, strict=True):
            into = line[:, steps.start + self.reach : steps.stop + self.reach]
            self.project(torch.relu_(self.linear(piece, hidden[:, steps])), into)
        return line


class FusedConvModules(nn.Module):
    """Convolution modules of one input, side by side: norm, one product, SiLU, one filter.

    Between product and filter frames lie in a line (B, T + taps - 1, C), with zeros at both ends,
    so that the filter needs no padding and pieces of it no copies.
    """

    def __init__(self, *modules: ConvModule) -> None:
        super().__init__()
        self.scaled = isinstance(modules[0].norm, ScaleNorm)
        folded = [_without_affine(module) for module in modules]
        self.product = Product(*(torch.cat(tensors) for tensors in zip(*folded, strict=True)))
        taps = torch.cat([module.conv.weight.detach() for module in modules]).permute(2, 0, 1)
        self.reach = taps.shape[0] // 2
        taps = taps.clone()
        taps[self.reach] += 1  # the module's residual
        self.register_buffer("taps", taps.contiguous())

    def line(self, scratch: Scratch, x: Tensor) -> Tensor:
        """Return a line for the frames of x (B, T, .)."""
        return scratch.line("modules", x, self.taps.shape[1], self.reach)

    def put(self, line: Tensor, steps: slice, x: Tensor) -> None:
        """Project x (B, n, C), the frames of `steps`, into their places in the line."""
        if self.scaled:
            norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
            normed = x * (norm * x.shape[-1] ** -0.5).clamp(min=1e-5).reciprocal().to(x.dtype)
        else:
            normed = functional.layer_norm(x, x.shape[-1:])
        into = line[:, steps.start + self.reach : steps.stop + self.reach]
        functional.silu(self.product(normed, into), inplace=True)

    def filtered(self, line: Tensor, steps: slice) -> Tensor:
        """Return the modules' outputs (B, n, C) at `steps`."""
        around = line[:, steps.start : steps.stop + 2 * self.reach]
        return fir(around, self.taps.to(line.dtype), left=0)[0]


class Product(nn.Module):
    """A linear layer that writes into given memory, in the dtype of that.

    Its weight lies transposed, which makes products of few rows a fifth faster.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
        self.register_buffer("weight", weight.detach().T.contiguous())  # (C, D)
        self.register_buffer("bias", bias.detach())

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        """Write x @ weight + bias into `out`: (B, n, C) and (B, n, D); return it."""
        weight, bias = self.weight.to(out.dtype), self.bias.to(out.dtype)
        for x_row, out_row in zip(x.to(out.dtype), out, strict=True):
            torch.addmm(bias, x_row, weight, out=out_row)
        return out


def _pieces(x: Tensor, size: int = 256) -> list[slice]:
    """Cut the steps of x (B, T, .) into pieces that fit the processor's cache."""
    n_steps = x.shape[1]
    return [slice(start, min(start + size, n_steps)) for start in range(0, n_steps, size)]


def _without_affine(module: ConvModule) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a module's projection with the gains of its norm inside."""
    weight, bias, norm = module.linear.weight.detach(), module.linear.bias.detach(), module.norm
    if isinstance(norm, ScaleNorm):
        return weight * norm.g.detach(), bias
    return weight * norm.weight.detach(), bias + weight @ norm.bias.detach()
