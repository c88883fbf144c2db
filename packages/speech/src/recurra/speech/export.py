"""ONNX files of our models, waveform in and waveform out, checked with onnxruntime."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.errors import RecurraError
from recurra.core.files import replaced_file
from recurra.core.onnx_file import open_onnx, require_onnx, write_onnx
from recurra.speech.enhancer import Enhancer
from recurra.speech.info import licence_of
from recurra.speech.models.frcrn import Frcrn
from recurra.speech.models.frcrn_step import FrcrnStep
from recurra.speech.models.load import find_folder
from recurra.speech.models.stft import sqrt_hann
from recurra.speech.recordings import level_gain
from recurra.speech.stream import FrameStream, interior_energy

_PACKAGE = "recurra-speech"
_LIMIT = 1e-4


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the .onnx file.
        form: "offline" (a whole recording) or "live" (one hop and a state).
        max_error: largest difference between onnxruntime and torch on noise, as a share of the
            largest output.
        stored_bytes: of the file.
        metadata: what the file says about itself.
    """

    path: Path
    form: str
    max_error: float
    stored_bytes: int
    metadata: dict[str, str]


def export_onnx(name_or_path: str | Path, path: str | Path) -> ExportReport:
    """Write a model as one ONNX file and check it against torch with onnxruntime.

    An offline model maps `audio` (rows, samples) to `enhanced` of the same shape, aligned, for any
    number of samples; the transforms, and the level that some models need, are inside.

    A causal model is one step: `samples` (rows, hop) and `state` (rows, S) give `enhanced`
    (rows, hop) and `next_state` (rows, S). The first state is zeros, and `enhanced` comes late by
    `delay_samples` of the metadata (window - hop) against the samples pushed with it. With one more
    hop to collect the samples, the latency is the window.

    The metadata of the file says all this, with the sample rate and the licence.

    Raises:
        RecurraError: no such model, the file cannot be written, or its output differs by over 1e-4.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    require_onnx(_PACKAGE)
    path = Path(path)
    folder = find_folder(name_or_path)
    model = Frcrn.from_pretrained(folder)
    form = "live" if model.config.causal else "offline"
    # The file is passed on: it says what the model is called, not where it lay on this machine.
    name = folder.name if Path(name_or_path).is_dir() else str(name_or_path)
    metadata = _metadata(model, name, form, licence_of(folder))
    with replaced_file(path) as partial:
        _write(model, partial, metadata)
        error = _live_error(model, partial) if form == "live" else _offline_error(model, partial)
        if not error <= _LIMIT:
            raise RecurraError(
                f"the ONNX file differs from the model by {error:.2g}, over {_LIMIT:g}: not written"
            )
    return ExportReport(path, form, error, path.stat().st_size, metadata)


class WholeClip(nn.Module):
    """`Enhancer` on one window, in real arithmetic: transforms are products with DFT matrices."""

    def __init__(self, model: Frcrn) -> None:
        super().__init__()
        self.model = model
        analysis, synthesis = _transforms(model)
        self.register_buffer("analysis", analysis.t()[:, None].contiguous())  # (2 * F, 1, W)
        self.register_buffer("synthesis", synthesis[:, None].contiguous())  # (2 * F, 1, W)

    def forward(self, audio: Tensor) -> Tensor:
        """Clean audio (B, n): the same shape."""
        config = self.model.config
        gain = None if config.level_db is None else level_gain(audio, config.level_db)
        edge, n = config.win_length - config.hop_length, audio.shape[1]
        # As many zeros as `enhance` puts behind, so that a model's mean over time is the same.
        behind = (config.hop_length - n % config.hop_length) % config.hop_length
        padded = functional.pad(audio if gain is None else audio * gain, (edge, edge + behind))
        spectrum = functional.conv1d(padded[:, None], self.analysis, stride=config.hop_length)
        spectrum = spectrum.transpose(1, 2).unflatten(2, (-1, 2))  # (B, T, F, 2)
        mask, _ = self.model.real_mask(spectrum)
        (re, im), (mask_re, mask_im) = spectrum.unbind(-1), mask.unbind(-1)
        masked = torch.stack([re * mask_re - im * mask_im, re * mask_im + im * mask_re], dim=-1)
        columns = masked.flatten(2).transpose(1, 2)
        y = functional.conv_transpose1d(columns, self.synthesis, stride=config.hop_length)
        y = y[:, 0, edge : edge + n]
        return y if gain is None else y / gain


class LiveStep(nn.Module):
    """One hop of `FrameStream` with all state in one tensor: the past, the overlap, the network."""

    def __init__(self, model: Frcrn) -> None:
        super().__init__()
        self.step = FrcrnStep(model)
        self.hop = model.config.hop_length
        self.edge = model.config.win_length - self.hop
        self.shapes = [(self.edge,), (self.edge,), *self.step.state_shapes()]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        analysis, synthesis = _transforms(model)
        self.register_buffer("analysis", analysis)
        self.register_buffer("synthesis", synthesis)

    def forward(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Clean samples (B, hop) with state (B, S)."""
        pieces = state.split(self.sizes, dim=1)
        past, overlap, *network = [
            piece.unflatten(1, shape) for piece, shape in zip(pieces, self.shapes, strict=True)
        ]
        window = torch.cat([past, samples], dim=1)
        frame = (window @ self.analysis).unflatten(1, (-1, 2))
        masked, network = self.step(frame, network)
        y = masked.flatten(1) @ self.synthesis
        y = y + functional.pad(overlap, (0, self.hop))
        after = [window[:, self.hop :], y[:, self.hop :], *(s.flatten(1) for s in network)]
        return y[:, : self.hop], torch.cat(after, dim=1)


def _transforms(model: Frcrn) -> tuple[Tensor, Tensor]:
    """Return windowed DFT matrices, (W, 2 * F) forth and (2 * F, W) back, bins as (re, im)."""
    size = model.config.win_length
    window = sqrt_hann(size, torch.zeros((), dtype=torch.float64))
    forth = torch.view_as_real(torch.fft.rfft(torch.diag(window))).flatten(1)
    bins = torch.eye(size // 2 + 1, dtype=torch.complex128)
    back = torch.fft.irfft(torch.stack([bins, 1j * bins], dim=1).flatten(0, 1), n=size)
    back = back * (window / interior_energy(window, model.config.hop_length))
    return forth.float(), back.float()


def _write(model: Frcrn, path: Path, metadata: dict[str, str]) -> None:
    rows = torch.export.Dim("rows")
    if model.config.causal:
        module: nn.Module = LiveStep(model)
        example: tuple[Tensor, ...] = (
            torch.zeros(2, module.hop),
            torch.zeros(2, sum(module.sizes)),
        )
        names = (["samples", "state"], ["enhanced", "next_state"])
        dynamic = ({0: rows}, {0: rows})
    else:
        module = WholeClip(model)
        example = (0.1 * torch.randn(2, 40 * model.config.hop_length + 7),)
        names = (["audio"], ["enhanced"])
        dynamic = ({0: rows, 1: torch.export.Dim("samples")},)
    write_onnx(
        module,
        path,
        example,
        inputs=names[0],
        outputs=names[1],
        dynamic_shapes=dynamic,
        metadata=metadata,
        package=_PACKAGE,
    )


def _metadata(model: Frcrn, name: str, form: str, licence: str | None) -> dict[str, str]:
    config = model.config
    facts = {
        "model": name,
        "form": form,
        "sample_rate": config.sample_rate,
        "window": config.win_length,
        "hop": config.hop_length,
        "licence": licence or "not stated",
    }
    if form == "live":
        facts |= {
            "latency_samples": config.win_length,
            "delay_samples": config.win_length - config.hop_length,
            "inputs": {
                "samples": "(rows, hop) float32 in [-1, 1], the next hop of each row",
                "state": "(rows, S) float32, zeros at first, then next_state",
            },
            "outputs": {
                "enhanced": "(rows, hop) float32, delay_samples behind samples",
                "next_state": "(rows, S) float32",
            },
        }
    else:
        facts |= {
            "inputs": {"audio": "(rows, samples) float32 in [-1, 1], whole recordings"},
            "outputs": {"enhanced": "(rows, samples) float32, aligned with audio"},
        }
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()
    }


def _offline_error(model: Frcrn, path: Path) -> float:
    """Compare with `Enhancer` on one row and on three, of lengths on and off the hop grid."""
    session, enhancer = open_onnx(path, package=_PACKAGE), Enhancer(model)
    generator = np.random.default_rng(0)
    errors = []
    for rows, hops, rest in ((1, 50, 0), (3, 61, 11)):
        audio = generator.normal(0, 0.1, (rows, hops * model.config.hop_length + rest))
        audio = audio.astype(np.float32)
        (ours,) = session.run(None, {"audio": audio})
        errors.append(_difference(ours, enhancer(audio, model.config.sample_rate)))
    return max(errors)


def _live_error(model: Frcrn, path: Path) -> float:
    """Compare with `FrameStream` over thirty hops of two rows."""
    session, stream = open_onnx(path, package=_PACKAGE), FrameStream(model, 2)
    hop, edge = model.config.hop_length, model.config.win_length - model.config.hop_length
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 30 * hop)).astype(np.float32)
    state = np.zeros((2, session.get_inputs()[1].shape[1]), np.float32)
    pieces = []
    for start in range(0, audio.shape[1], hop):
        feed = {"samples": audio[:, start : start + hop], "state": state}
        enhanced, state = session.run(None, feed)
        pieces.append(enhanced)
    return _difference(np.concatenate(pieces, axis=1)[:, edge:], stream.push(audio))


def _difference(ours: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(ours - expected).max() / np.abs(expected).max())
