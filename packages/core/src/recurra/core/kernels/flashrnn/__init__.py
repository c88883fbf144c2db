"""Head-wise recurrent cells with a matrix on their own past: LSTM, GRU, sLSTM and Elman."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.flashrnn import fast, reference
from recurra.core.kernels.flashrnn.cell import Cell
from recurra.core.kernels.flashrnn.elman import Elman
from recurra.core.kernels.flashrnn.gru import Gru
from recurra.core.kernels.flashrnn.lstm import Lstm
from recurra.core.kernels.flashrnn.on_chip import LARGEST_HEAD, fits
from recurra.core.kernels.flashrnn.slstm import Slstm
from recurra.core.kernels.lengths import check_lengths, steps_inside, zero_beyond
from recurra.core.kernels.triton_support import chip, wants_triton

Backend = Literal["auto", "reference", "fast", "triton"]
CellName = Literal["lstm", "gru", "slstm", "elman"]

CELLS: dict[str, Cell] = {"lstm": Lstm(), "gru": Gru(), "slstm": Slstm(), "elman": Elman()}


def flashrnn(
    wx: Tensor,
    r: Tensor,
    b: Tensor,
    states: Tensor | None = None,
    *,
    cell: CellName,
    peephole: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
    all_states: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Run a recurrent cell over time, each head with its own recurrent matrix.

    At each step the gates of head h see wx[:, t, :, h] + r[:, h] @ h_before + b[:, h]. What a cell
    does with them stands in its file:

    | cell | gates of wx | of r | of b | states |
    |---|---|---|---|---|
    | lstm | i f z o | i f z o | i f z o | h c |
    | gru | r z n | g r z | g r z n | h |
    | slstm | i f z o | i f z o | i f z o | h c n m |
    | elman | one | one | one | h |

    PyTorch's LSTM has the same order; its GRU's recurrent rows r z n are r z g here.

    Source: Pöppel, Beck and Hochreiter 2024, "FlashRNN" (arXiv 2412.07752): cells, orders and
    shapes are those of its PyPI package 1.0.8; `slstm.py` says where the sLSTM departs from it.

    Args:
        wx: (B, T, G, H, D), what the input gives to each gate, in any floating dtype. T and B may
            be 0; any strides.
        r: (G, H, D, D), the recurrent matrices: rows are a gate's units, columns are h's.
        b: (G, H, D).
        states: (B, S, H, D), where each row starts, in the order of the table; zeros if None. Pass
            the returned last states to go on.
        cell: "lstm", "gru", "slstm" or "elman".
        peephole: (3, H, D), an LSTM's diagonal weights from c to the gates i, f and o.
        lengths: (B,) integers from 0 to T: how many steps of each row count. The rest changes
            nothing, whatever it holds, and its output is zero.
        reverse: run from each row's last step that counts to its first.
        all_states: return every state of every step, not only h.
        backend: "reference" is the plain loop; "fast" runs in preallocated memory with a backward
            pass of its own, and keeps the states of each step for it; "triton" keeps the matrices
            of a head on a GPU's chip where they fit (`on_chip.py`). "auto" is "triton" where that
            can run, else "fast", but "reference" where torch.compile or torch.export traces it.

    Returns:
        h (B, T, H, D) in the dtype of wx, or with `all_states` (B, T, S, H, D) in the dtype of the
        states; and the last states (B, S, H, D). States and sums are in float32, or float64 where
        wx is.

    Raises:
        ValueError: an unknown cell, or shapes or dtypes that do not fit together.
    """
    kind = CELLS.get(cell)
    if kind is None:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, not {cell!r}")
    n_rows, heads, width = _check(kind, wx, r, b, states, peephole)
    check_lengths(lengths, wx)
    dtype = torch.promote_types(wx.dtype, torch.float32)
    if states is None:
        states = torch.zeros(n_rows, len(kind.states), heads, width, dtype=dtype, device=wx.device)
    idle = None
    if lengths is not None:
        idle = ~steps_inside(lengths, wx).squeeze(2).transpose(0, 1)  # (T, B, 1, 1)
        (wx,) = zero_beyond(lengths, wx)
    tracing = torch.compiler.is_compiling()
    run = reference.run if backend == "reference" or (backend == "auto" and tracing) else fast.run
    if wants_triton(backend, wx, dtype) and wx.numel() and _fits(backend, wx, dtype):
        from recurra.core.kernels.flashrnn import triton

        run = triton.run
    with torch.autocast(wx.device.type, enabled=False):
        sequences, last = run(
            kind,
            wx,
            r.to(dtype),
            b.to(dtype),
            states.to(dtype),
            None if peephole is None else peephole.to(dtype),
            idle,
            reverse=reverse,
            all_states=all_states,
        )
        if idle is not None:
            sequences = [sequence.where(~idle, 0) for sequence in sequences]
    if all_states:
        return torch.stack(sequences, dim=2).transpose(0, 1), last
    return sequences[0].transpose(0, 1).to(wx.dtype), last


def _fits(backend: str, wx: Tensor, dtype: torch.dtype) -> bool:
    """Say whether a head's matrices stay on the chip; where Triton is asked for, they have to."""
    arch, head = chip(wx), wx.shape[-1]
    fitting = fits(arch, dtype, head)
    if not fitting and backend == "triton":
        raise ValueError(
            f'backend="triton" does not take heads of {head} on {arch} (the largest: '
            f"{LARGEST_HEAD.get(arch, 'none was tried')}): "
            'take backend="auto"'
        )
    return fitting


def _check(
    kind: Cell,
    wx: Tensor,
    r: Tensor,
    b: Tensor,
    states: Tensor | None,
    peephole: Tensor | None,
) -> tuple[int, int, int]:
    """Return B, H and D, or raise where the arguments do not fit together."""
    name = type(kind).__name__.lower()
    if wx.dim() != 5 or wx.shape[2] != kind.n_input:
        raise ValueError(
            f"wx must be (B, T, {kind.n_input}, H, D) for {name}, not {tuple(wx.shape)}"
        )
    n_rows, _, _, heads, width = wx.shape
    if peephole is not None and not kind.takes_peephole:
        raise ValueError(f"only the lstm has peepholes, not the {name}")
    shapes = {
        "r": (r, (kind.n_recurrent, heads, width, width)),
        "b": (b, (kind.n_gates, heads, width)),
        "states": (states, (n_rows, len(kind.states), heads, width)),
        "peephole": (peephole, (3, heads, width)),
    }
    for argument, (tensor, shape) in shapes.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"{argument} must be {shape} for wx {tuple(wx.shape)}, not {tuple(tensor.shape)}"
            )
    if not wx.is_floating_point():
        raise ValueError(f"wx must be floating, not {wx.dtype}")
    for argument in ("r", "b", "states", "peephole"):
        tensor = shapes[argument][0]
        if tensor is not None and tensor.dtype == torch.float64 != wx.dtype:
            raise ValueError(f"{argument} is float64 and wx is {wx.dtype}: cast one of them")
    return n_rows, heads, width
