"""FRCRN one frame at a time: the causal network of frcrn.py, rearranged so that a frame is cheap.

A frame of a small network is some ten million multiplications spread over hundreds of tiny layers,
where most of the time goes into starting operations: even asking a tensor for its shape is one in
a trace, so the number of bins is a constant of each layer. Here a complex layer is one real matrix
product: windows along frequency are views of a frame, the four products of a complex FSMN or gate
are the four blocks of one matrix, and a convolution over two frames multiplies each frame once and
keeps what belongs to the next. `Frcrn.mask` is the definition; the tests hold the two together.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.errors import RecurraError
from recurra.speech.models.complex_layers import (
    ComplexConvBlock,
    ComplexFsmn,
    ComplexSqueezeExcite,
)
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig, Unet


class FrcrnStep(nn.Module):
    """The mask of one frame from the frame and the state; copies the weights, for inference only.

    Every layer maps x (B, F, 2 * C), real parts first, and its own state, None or a tensor whose
    first axis is B; a state is never changed in place.
    """

    def __init__(self, model: Frcrn) -> None:
        """Rearrange `model`, as it was trained (not fused); it is left as it was.

        Raises:
            RecurraError: the model is not causal.
        """
        super().__init__()
        if not model.config.causal:
            raise RecurraError(
                "this model looks at the whole recording, so it cannot run live; "
                "take a causal one, such as frcrn-live"
            )
        self.config: FrcrnConfig = model.config
        with torch.no_grad():
            self.unets = nn.ModuleList(UnetStep(unet, model.config) for unet in model.unets)
        self.eval().requires_grad_(False)

    def initial_state(self, rows: int) -> list[Tensor]:
        """Return the state before the first frame: zeros, each (rows, ...)."""
        weight = self.unets[0].encoders[0].weight
        return [weight.new_zeros(rows, *shape) for shape in self.state_shapes()]

    def state_shapes(self) -> list[tuple[int, ...]]:
        """Return the shape of each state without its first axis, in the order of `forward`."""
        return [shape for unet in self.unets for shape in unet.state_shapes()]

    def forward(self, frame: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Mask one frame.

        Args:
            frame: (B, F, 2), the spectrum's real and imaginary parts.
            state: from `initial_state` or the last call.

        Returns:
            the masked frame (B, F, 2) and the next state.
        """
        re, im = frame.unbind(-1)
        x = frame
        if self.config.compression != 1:
            power = (re * re + im * im + 1e-12)[..., None]
            # On few bins a vectorised logarithm and exponential are far cheaper than a power.
            x = x * torch.exp((self.config.compression - 1) / 2 * torch.log(power))
        before, after = list(state), []
        mask = None
        for unet in self.unets:
            x, new = unet(x, before)
            after += new
            mask = torch.tanh(x) if mask is None else mask + torch.tanh(x)
        mask_re, mask_im = mask.unbind(-1)
        masked = torch.stack([re * mask_re - im * mask_im, re * mask_im + im * mask_re], dim=-1)
        return masked, after


class UnetStep(nn.Module):
    """One U-Net on one frame: (B, F, 2) to (B, F, 2), before the tanh."""

    def __init__(self, unet: Unet, config: FrcrnConfig) -> None:
        super().__init__()
        bins = config.frequencies()
        keep = config.squeeze_frames
        self.encoders = nn.ModuleList(
            ConvStep(block, n_bins) for block, n_bins in zip(unet.encoders, bins, strict=False)
        )
        self.encoder_memories = nn.ModuleList(
            FrequencyMemoryStep(memory, n_bins)
            for memory, n_bins in zip(unet.encoder_memories, bins[1:], strict=False)
        )
        self.skip_gates = nn.ModuleList(
            GateStep(gate, keep, n_bins)
            for gate, n_bins in zip(unet.skip_gates, bins[1:], strict=False)
        )
        self.bottleneck = nn.ModuleList(
            TimeMemoryStep(memory, bins[-1]) for memory in unet.bottleneck
        )
        self.decoders = nn.ModuleList(
            TransposedConvStep(block, n_bins)
            for block, n_bins in zip(unet.decoders, bins[:0:-1], strict=False)
        )
        self.decoder_memories = nn.ModuleList(
            FrequencyMemoryStep(memory, n_bins)
            for memory, n_bins in zip(unet.decoder_memories, bins[-2::-1], strict=False)
        )
        self.decoder_gates = nn.ModuleList(
            GateStep(gate, keep, n_bins)
            for gate, n_bins in zip(unet.decoder_gates, bins[-2::-1], strict=False)
        )
        a, b = unet.output_re, unet.output_im
        turn = torch.stack([torch.stack([a[0], b[0]]), torch.stack([-b[0], a[0]])])
        self.register_buffer("output_weight", turn.clone())
        self.register_buffer("output_bias", torch.stack([a[1] - b[1], a[1] + b[1]]).clone())
        self.n_bins = bins[0]

    def state_shapes(self) -> list[tuple[int, ...]]:
        """Return the shape of each state without its first axis, in the order of `forward`."""
        with_state = []
        for level, encoder in enumerate(self.encoders):
            with_state += [encoder, *self.skip_gates[level : level + 1]]
        with_state += self.bottleneck
        for level, decoder in enumerate(self.decoders):
            with_state += [decoder, *self.decoder_gates[level : level + 1]]
        return [layer.state_shape for layer in with_state]

    def forward(self, x: Tensor, before: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Run one frame; takes its states off the front of `before`, returns the next ones."""
        after: list[Tensor] = []

        def step(layer: nn.Module, x: Tensor) -> Tensor:
            y, state = layer(x, before.pop(0))
            after.append(state)
            return y

        skips = []
        for level, encoder in enumerate(self.encoders):
            if level > 0:
                x = self.encoder_memories[level - 1](x)
            x = step(encoder, x)
            if level < len(self.skip_gates):
                skips.append(step(self.skip_gates[level], x))
        for memory in self.bottleneck:
            x = step(memory, x)
        for level, decoder in enumerate(self.decoders):
            x = step(decoder, x)
            if level < len(self.decoder_memories):
                x = self.decoder_memories[level](x)
            if level < len(self.decoder_gates):
                x = step(self.decoder_gates[level], x)
            if skips:
                x = torch.cat([x, skips.pop()], dim=-1)
        y = torch.addmm(self.output_bias, x.flatten(0, 1), self.output_weight)
        return y.unflatten(0, (-1, self.n_bins)), after


class ConvStep(nn.Module):
    """A causal convolution block: windows of K bins, 2 apart, times one matrix.

    Its columns give, first, what a frame adds to its own output and, second, what it adds to the
    next frame's; the second half waits in the state.
    """

    def __init__(self, block: ComplexConvBlock, n_bins: int) -> None:
        super().__init__()
        weight, bias = block.folded()  # (C_out, C_in, 2, K)
        c_out, self.c_in, _, self.kernel = weight.shape
        columns = weight.permute(3, 1, 2, 0).flip(2)  # (K, C_in, this frame | next, C_out)
        self.register_buffer("weight", columns.reshape(self.kernel * self.c_in, -1).contiguous())
        self.register_buffer("bias", torch.cat([bias, torch.zeros_like(bias)]))
        self.c_out = c_out
        self.n_out = (n_bins - self.kernel) // 2 + 1
        self.state_shape = (self.n_out, c_out)

    def forward(self, x: Tensor, waiting: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, F_in, C_in) to (B, F_out, C_out)."""
        windows = x.flatten(1).unfold(1, self.kernel * self.c_in, 2 * self.c_in)
        both = torch.addmm(self.bias, windows.flatten(0, 1), self.weight)
        both = both.unflatten(0, (-1, self.n_out))
        now, later = both.split(self.c_out, dim=2)
        return functional.leaky_relu(now + waiting, 0.01), later


class TransposedConvStep(nn.Module):
    """A causal transposed convolution block: windows of input bins times one matrix.

    A window of ceil(K / 2) bins gives one even and one odd output bin. Halves as in `ConvStep`.
    """

    def __init__(self, block: ComplexConvBlock, n_bins: int) -> None:
        super().__init__()
        weight, bias = block.folded()  # (C_out, C_in, 2, K)
        c_out, self.c_in, _, kernel = weight.shape
        self.reach = -(-kernel // 2)
        # Bin i adds w[k] to output bin 2 * i + k. The last bin of a window meets k = 0 and 1.
        padded = functional.pad(weight, (0, 2 * self.reach - kernel))
        pairs = padded.unflatten(3, (self.reach, 2)).flip(3)
        columns = pairs.permute(3, 1, 2, 4, 0)  # (reach, C_in, this | next, even | odd, C_out)
        self.register_buffer("weight", columns.reshape(self.reach * self.c_in, -1).contiguous())
        twice = bias.repeat(2)
        self.register_buffer("bias", torch.cat([twice, torch.zeros_like(twice)]))
        self.c_out = c_out
        self.n_windows = n_bins + self.reach - 1
        self.n_out = 2 * (n_bins - 1) + kernel
        self.state_shape = (self.n_windows, 2 * c_out)

    def forward(self, x: Tensor, waiting: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, F_in, C_in) to (B, F_out, C_out)."""
        edge = (self.reach - 1) * self.c_in
        flat = functional.pad(x.flatten(1), (edge, edge))
        windows = flat.unfold(1, self.reach * self.c_in, self.c_in)
        both = torch.addmm(self.bias, windows.flatten(0, 1), self.weight)
        both = both.unflatten(0, (-1, self.n_windows))
        now, later = both.split(2 * self.c_out, dim=2)
        y = functional.leaky_relu(now + waiting, 0.01).view(-1, 2 * self.n_windows, self.c_out)
        return y.narrow(1, 0, self.n_out), later


class _Memory(nn.Module):
    """What the complex FSMNs share: the four products R(re), R(im), I(im), I(re), in this order.

    The imaginary layer's part of the real output is subtracted: its projection is negated.
    """

    def __init__(self, memory: ComplexFsmn, n_bins: int) -> None:
        super().__init__()
        self.n_bins = n_bins
        real, imag = memory.real, memory.imag
        width, hidden = real.project.weight.shape
        inner, outer = real.linear.weight.t(), imag.linear.weight.t()  # (C, H)
        none = torch.zeros_like(inner)
        eye = torch.eye(width, dtype=inner.dtype, device=inner.device)
        # The last columns carry the input over: (re, im) becomes (re - im, re + im).
        of_re = torch.cat([inner, none, none, outer, eye, eye], 1)
        of_im = torch.cat([none, inner, outer, none, -eye, eye], 1)
        self.register_buffer("linear", torch.cat([of_re, of_im]))  # (2 * C, 4 * H + 2 * C)
        biases = [real.linear.bias] * 2 + [imag.linear.bias] * 2 + [inner.new_zeros(2 * width)]
        self.register_buffer("linear_bias", torch.cat(biases))
        self.hidden, self.width = 4 * hidden, 2 * width
        back, forth = real.project.weight.t(), imag.project.weight.t()  # (H, C)
        project = torch.block_diag(back, back, -forth, forth)  # (4 * H, 4 * C)
        self.register_buffer("project", project.contiguous())
        taps = [layer.taps[..., 0].clone() for layer in (real, imag)]
        for one in taps:
            one[-1] += 1  # the memory's own step is added to what is remembered
        self.register_buffer("taps", torch.cat([taps[0]] * 2 + [taps[1]] * 2, 1))  # (K, 4 * C)

    def _products(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, F, 2 * C) to what is remembered of it, (B, F, 4 * C), and the rest of y."""
        wide = torch.addmm(self.linear_bias, x.flatten(0, 1), self.linear)
        hidden, rest = wide.split([self.hidden, self.width], dim=1)
        p = torch.relu(hidden) @ self.project
        return p.unflatten(0, (-1, self.n_bins)), rest.unflatten(0, (-1, self.n_bins))


class FrequencyMemoryStep(_Memory):
    """A complex FSMN along frequency; it needs no state."""

    def forward(self, x: Tensor) -> Tensor:
        """Remember lower frequencies: x (B, F, 2 * C) to the same shape."""
        p, rest = self._products(x)
        n_taps, wide = self.taps.shape
        # On so few rows products and a sum take half the time of a depthwise convolution. The
        # four products of a bin and its taps lie in one row, which also adds up the two halves.
        flat = functional.pad(p.flatten(1), ((n_taps - 1) * wide, 0))
        windows = flat.unfold(1, n_taps * wide, wide) * self.taps.flatten()
        return rest + windows.unflatten(2, (2 * n_taps, self.width)).sum(dim=2)


class TimeMemoryStep(_Memory):
    """A complex FSMN along time; its state is what it remembers of the last K - 1 frames."""

    def __init__(self, memory: ComplexFsmn, n_bins: int) -> None:
        super().__init__(memory, n_bins)
        self.state_shape = (self.taps.shape[0] - 1, n_bins, self.taps.shape[1])

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Remember earlier frames: x (B, F, 2 * C) to the same shape."""
        p, rest = self._products(x)
        line = torch.cat([memory, p.unsqueeze(1)], dim=1)  # (B, K, F, 4 * C)
        remembered = (line * self.taps[:, None]).sum(dim=1)
        of_re, of_im = remembered.split(self.width, dim=2)
        return rest + of_re + of_im, line.narrow(1, 1, self.state_shape[0])


class GateStep(nn.Module):
    """A causal complex squeeze-excitation; its state is the running mean."""

    def __init__(self, gate: ComplexSqueezeExcite, frames: int, n_bins: int) -> None:
        super().__init__()
        (real, _, real_out, _), (imag, _, imag_out, _) = gate.real, gate.imag
        inner, outer = real.weight.t(), imag.weight.t()  # (C, H)
        none = torch.zeros_like(inner)
        rows = [torch.cat([inner, none, none, outer], 1), torch.cat([none, inner, outer, none], 1)]
        self.register_buffer("squeeze", torch.cat(rows).contiguous())
        self.register_buffer("squeeze_bias", torch.cat([real.bias] * 2 + [imag.bias] * 2))
        back, forth = real_out.weight.t(), imag_out.weight.t()
        self.register_buffer("excite", torch.block_diag(back, back, forth, forth).contiguous())
        self.register_buffer("excite_bias", torch.cat([real_out.bias] * 2 + [imag_out.bias] * 2))
        width = real.weight.shape[1]
        # The gates R(re), R(im), I(im), I(re) give (R(re) - I(im), R(im) + I(re)).
        eye = torch.eye(width, dtype=inner.dtype, device=inner.device)
        combine = torch.cat([torch.eye(2 * width).to(eye), torch.block_diag(-eye, eye)])
        self.register_buffer("combine", combine)
        self.keep = 1 - 1 / frames
        self.register_buffer("share", inner.new_full((n_bins,), 1 / (frames * n_bins)))
        self.state_shape = (2 * width,)

    def forward(self, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Scale x (B, F, 2 * C)."""
        mean = torch.add(self.share @ x, mean, alpha=self.keep)
        hidden = torch.relu(torch.addmm(self.squeeze_bias, mean, self.squeeze))
        four = torch.sigmoid(torch.addmm(self.excite_bias, hidden, self.excite))
        return x * (four @ self.combine).unsqueeze(1), mean
