"""Recurrent networks that see their own past: LSTM, GRU, sLSTM, Elman, whole or in heads."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from recurra.core.kernels.flashrnn import CELLS, CellName, flashrnn
from recurra.core.kernels.lengths import zero_beyond

State = dict[str, Tensor]

_TORCH: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "elman": nn.RNN}


class RNN(nn.Module):
    """Stacked recurrent layers, in one direction or two, whose heads each see their own past.

    With one head and no peepholes, `weights` is torch's nn.LSTM, nn.GRU or nn.RNN and does the
    work, with cuDNN on CUDA (which cannot be differentiated twice). Everything else runs on
    `flashrnn`, and so does a layer whose parameters are bfloat16 or float16: its state is in
    float32. Both have the parameters of torch's modules, so that a state dict of theirs loads:

        layer.weights.load_state_dict(nn.LSTM(8, 16).state_dict())

    `weight_hh` keeps of each head's rows the columns that the head sees, (G * d_hidden,
    d_hidden / n_heads); an LSTM's gates are i f g o, a GRU's r z n, an sLSTM's i f z o.

    torch.compile leaves torch's modules out of its graph; it takes the rest.

    A bidirectional layer is neither causal nor streams: its second half runs from each row's end.

    Time grows with T step by step; a streamed step costs the same at any T.

    Source: Hochreiter and Schmidhuber 1997 and Gers et al. 2000 (LSTM, peepholes), Cho et al. 2014
    (GRU), Elman 1990, Beck et al. 2024 (sLSTM, arXiv 2405.04517); heads as in FlashRNN (Pöppel et
    al. 2024, arXiv 2412.07752); two directions: Schuster and Paliwal 1997.
    """

    causal = True
    streams = True
    is_linear = False
    look_ahead = 0

    def __init__(
        self,
        d_in: int,
        d_hidden: int,
        *,
        cell: CellName = "lstm",
        n_heads: int = 1,
        n_layers: int = 1,
        bidirectional: bool = False,
        peephole: bool = False,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, not {cell!r}")
        if d_hidden % n_heads:
            raise ValueError(f"d_hidden {d_hidden} does not divide into {n_heads} heads")
        if peephole and not CELLS[cell].takes_peephole:
            raise ValueError(f"only the lstm has peepholes, not the {cell}")
        self.cell: CellName = cell
        self.n_heads = n_heads
        self.n_layers = n_layers
        self.d_hidden = d_hidden
        self.peephole = peephole
        self.directions = ("", "_reverse") if bidirectional else ("",)
        if bidirectional:
            self.causal = self.streams = False
        self.weights: nn.Module
        if n_heads == 1 and not peephole and cell in _TORCH:
            self.weights = _TORCH[cell](
                d_in, d_hidden, n_layers, batch_first=True, bidirectional=bidirectional
            )
        else:
            self.weights = _HeadWeights(d_in, d_hidden, cell, n_heads, peephole)
            for index in range(n_layers):
                for direction in self.directions:
                    self.weights.add(f"l{index}{direction}", d_in)
                d_in = d_hidden * len(self.directions)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run over x from a state.

        Args:
            x: (B, T, C).
            state: what `forward` or `initial_state` returned before.
            lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the
                row changes nothing, whatever it holds, and its y is zero. Where torch's modules do
                the work, they are read on the CPU.

        Returns:
            y (B, T, d_hidden), of both directions (B, T, 2 * d_hidden), and the state after each
            row's last step: (B, n_layers * directions, H, D) for each of the cell's states, in the
            order of nn.LSTM: all directions of the first layer, then of the next.
        """
        state = self.initial_state(x) if state is None else state
        if isinstance(self.weights, nn.RNNBase):
            dtype = next(self.weights.parameters()).dtype
            if dtype in (torch.float32, torch.float64):
                # Under autocast too the state stays in the precision of the parameters.
                with torch.autocast(x.device.type, enabled=False):
                    y, after = self._by_torch(x.to(dtype), state, lengths)
                return y.to(x.dtype), after
        return self._by_kernel(x, state, lengths)

    def initial_state(self, x: Tensor) -> State:
        """Return the state before the first step, zeros, for rows typed as x (B, T, C)."""
        shape = (self.n_layers * len(self.directions), self.n_heads, self.d_hidden // self.n_heads)
        dtype = torch.promote_types(x.dtype, torch.float32)
        return {
            name: x.new_zeros(x.shape[0], *shape, dtype=dtype) for name in CELLS[self.cell].states
        }

    def state_size(self) -> int:
        """Return how many numbers the state of a row holds, whatever T is."""
        n_states = len(CELLS[self.cell].states)
        return n_states * self.n_layers * len(self.directions) * self.d_hidden

    def _by_torch(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        """Run torch's module, which takes neither T = 0, no rows, nor rows of length 0."""
        n_rows, n_steps, _ = x.shape
        if n_rows == 0 or n_steps == 0:
            return self._by_kernel(x, state, lengths)
        if lengths is None:
            y, after = self.weights(x, self._to_torch(state))
            return y, self._from_torch(after)
        counts = lengths.cpu()
        kept = counts.nonzero().squeeze(1)
        if len(kept) == 0:
            return self._by_kernel(x, state, lengths)
        packed = pack_padded_sequence(x[kept], counts[kept], batch_first=True, enforce_sorted=False)
        rows = kept.to(x.device)
        before = {name: value[rows] for name, value in state.items()}
        found, after = self.weights(packed, self._to_torch(before))
        found, _ = pad_packed_sequence(found, batch_first=True, total_length=n_steps)
        moved = self._from_torch(after)
        y = found.new_zeros(n_rows, n_steps, found.shape[2])
        return y.index_copy(0, rows, found), {
            name: value.index_copy(0, rows, moved[name]) for name, value in state.items()
        }

    def _to_torch(self, state: State) -> Tensor | tuple[Tensor, ...]:
        found = [state[name] for name in CELLS[self.cell].states]
        values = [value.flatten(2).transpose(0, 1).contiguous() for value in found]
        return tuple(values) if len(values) > 1 else values[0]

    def _from_torch(self, values: Tensor | tuple[Tensor, ...]) -> State:
        values = (values,) if isinstance(values, Tensor) else values
        rows = [value.transpose(0, 1).unsqueeze(2) for value in values]
        return dict(zip(CELLS[self.cell].states, rows, strict=True))

    def _by_kernel(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        """Run `flashrnn` layer by layer."""
        (x,) = zero_beyond(lengths, x)
        before = torch.stack([state[name] for name in CELLS[self.cell].states], dim=2)
        after: list[Tensor] = []
        for layer in range(self.n_layers):
            outputs = []
            for direction in self.directions:
                weight, r, b, peephole = self._gates(f"l{layer}{direction}")
                wx = functional.linear(x, weight)
                y, last = flashrnn(
                    wx.reshape(*x.shape[:2], CELLS[self.cell].n_input, *b.shape[1:]),
                    r,
                    b,
                    before[:, len(after)],
                    cell=self.cell,
                    peephole=peephole,
                    lengths=lengths,
                    reverse=direction != "",
                )
                outputs.append(y.flatten(2))
                after.append(last)
            x = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
        states = torch.stack(after, dim=1).unbind(2)  # each (B, L, H, D)
        return x, dict(zip(CELLS[self.cell].states, states, strict=True))

    def _gates(self, place: str) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return the input matrix, and r, b and the peepholes in the order of `flashrnn`."""
        weight, matrix, to_gates, from_h = (
            getattr(self.weights, f"{name}_{place}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        peephole = getattr(self.weights, f"peephole_{place}") if self.peephole else None
        heads = (-1, self.n_heads, self.d_hidden // self.n_heads)
        r = matrix.view(*heads, heads[2])  # (G, H, D, D)
        bias, bias_hidden = to_gates.view(heads), from_h.view(heads)  # (G, H, D)
        if self.cell != "gru":
            return weight, r, bias + bias_hidden, peephole
        # torch's r z n; the recurrent part of n, with its own bias, is the kernel's first gate g.
        both = bias[:2] + bias_hidden[:2]
        return weight, r.roll(1, 0), torch.cat([bias_hidden[2:], both, bias[2:]]), None


class _HeadWeights(nn.Module):
    """Parameters named as those of torch's recurrent modules, for heads and further cells."""

    def __init__(
        self, d_in: int, d_hidden: int, cell: CellName, n_heads: int, peephole: bool
    ) -> None:
        super().__init__()
        self.n_rows = CELLS[cell].n_recurrent * d_hidden
        self.d_hidden = d_hidden
        self.n_heads = n_heads
        self.peephole = peephole

    def add(self, place: str, d_in: int) -> None:
        """Make the parameters of one layer and direction, such as "l0_reverse".

        They are drawn as torch draws them, from +-d_hidden^-0.5; where a head sees fewer units,
        the recurrent ones from +-D^-0.5.
        """
        width = self.d_hidden // self.n_heads
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (self.n_rows, d_in),
            "weight_hh": (self.n_rows, width),
            "bias_ih": (self.n_rows,),
            "bias_hh": (self.n_rows,),
        }
        if self.peephole:
            shapes["peephole"] = (3, self.n_heads, width)
        for name, shape in shapes.items():
            bound = (width if name == "weight_hh" else self.d_hidden) ** -0.5
            parameter = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
            self.register_parameter(f"{name}_{place}", parameter)
