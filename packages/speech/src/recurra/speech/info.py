"""What a model is and costs: parameters, size, arithmetic, delay and licence."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from recurra.core.errors import RecurraError
from recurra.speech.models.frcrn import Frcrn
from recurra.speech.models.load import Model, find_folder, model_class
from recurra.speech.models.mossformer2_sr import MossFormer2Sr
from recurra.speech.models.mossformer2_ss import MossFormer2Ss
from recurra.speech.stream import stream_latency

_FRCRN_FRAMES = 16
_GENERATOR_FRAMES = 4


@dataclass(frozen=True)
class ModelInfo:
    """Facts of one model.

    Attributes:
        name: as it was asked for.
        kind: the architecture.
        parameters: trained numbers; the statistics of norms are not counted.
        stored_bytes: of model.safetensors.
        macs_per_second: real multiply-accumulates for a second of audio, one channel.
        sample_rate: in Hz.
        speakers: how many voices it takes apart; None where it does something else.
        window, hop: of the short-time Fourier transform or the filter bank, in samples.
        causal: it can run live.
        latency: samples that a live stream at `sample_rate` holds back: the window and the
            look-ahead; None where the model needs the whole recording, or a window of it.
        look_ahead: no output sample depends on an input sample that is more than so many samples
            later; None where it may depend on all of the recording, or of a window of it.
        look_ahead_ms: the same in milliseconds.
        licence: as the model card states it; None where there is no card or it does not say.
    """

    name: str
    kind: str
    parameters: int
    stored_bytes: int
    macs_per_second: int
    sample_rate: int
    speakers: int | None
    window: int
    hop: int
    causal: bool
    latency: int | None
    look_ahead: int | None
    look_ahead_ms: float | None
    licence: str | None

    @property
    def latency_text(self) -> str:
        """The latency in words."""
        if self.latency is None:
            return "none stated: it needs the whole recording (or window)"
        return f"{1000 * self.latency / self.sample_rate:g} ms ({self.latency} samples)"

    @property
    def look_ahead_text(self) -> str:
        """The look-ahead in words."""
        if self.look_ahead is None:
            return "the whole recording (or window)"
        ms = 1000 * self.look_ahead / self.sample_rate
        time = f"{ms:.4g} ms" if ms < 1000 else f"{ms / 1000:.4g} s"
        return f"at most {time} ({self.look_ahead} samples)"


def describe(name_or_path: str | Path) -> ModelInfo:
    """Describe a shipped model, a folder or a model of the Hugging Face Hub.

    Raises:
        RecurraError: there is no such model, or it is of a kind that this version does not know.
        CheckpointError: its files do not fit together.
    """
    folder = find_folder(name_or_path)
    model = model_class(folder).from_pretrained(folder)
    config = model.config
    causal = isinstance(model, Frcrn) and model.config.causal
    latency = None
    if causal:
        latency = stream_latency(
            config.win_length, config.hop_length, config.sample_rate, config.sample_rate
        )
    ahead = look_ahead(model)
    return ModelInfo(
        name=str(name_or_path),
        kind=model.kind,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        stored_bytes=(folder / "model.safetensors").stat().st_size,
        macs_per_second=macs_per_second(model),
        sample_rate=config.sample_rate,
        speakers=model.config.n_speakers if isinstance(model, MossFormer2Ss) else None,
        window=config.win_length,
        hop=config.hop_length,
        causal=causal,
        latency=latency,
        look_ahead=ahead,
        look_ahead_ms=None if ahead is None else round(1000 * ahead / config.sample_rate, 3),
        licence=licence_of(folder),
    )


def look_ahead(model: Model) -> int | None:
    """Count the samples after a sample that its output can depend on; None: all that there are.

    A frame that covers the sample ends up to a window later. Where FRCRN is not causal, each level
    of a decoder sees one frame ahead, and each gate on the longest way through it `squeeze_reach`.
    """
    if not isinstance(model, Frcrn) or model.config.level_db is not None:
        return None
    config = model.config
    frames = 0
    if not config.causal:
        if config.squeeze_reach is None:
            return None
        levels = len(config.channels)
        gates = max(levels - 2, 1)
        frames = config.n_unets * (levels + gates * config.squeeze_reach)
    return frames * config.hop_length + config.win_length - 1


def macs_per_second(model: Model) -> int:
    """Count the multiply-accumulates of matrix products and convolutions for a second of audio.

    The cost of all models is linear in time but for the edges of a recording, so what twice as many
    frames cost more is all that is measured: of FRCRN 16 frames, of MossFormer2 one group of its
    attention, which is what it pads recordings to (0.13 s of `MossFormer2_SS_16K`, 2 s of
    `MossFormer2_SE_48K`), of super-resolution's generator, the dearest of all, 4 frames. A complex
    product counts as the four real ones that it is; Fourier transforms, norms and activations do
    not count.
    """
    config = model.config
    edge = config.win_length - config.hop_length

    def audio(frames: int) -> Tensor:
        return torch.zeros(1, frames * config.hop_length + edge)

    if isinstance(model, Frcrn):
        macs = _macs_per_frame(model, audio, _FRCRN_FRAMES)
    elif isinstance(model, MossFormer2Sr):

        def bands(frames: int) -> Tensor:
            return torch.zeros(1, frames, model.config.n_mels)

        macs = _macs_per_frame(model.features, audio, 1)
        macs += _macs_per_frame(model.stack, bands, model.config.stack.group)
        macs += _macs_per_frame(model.generator, bands, _GENERATOR_FRAMES)
    else:
        macs = _macs_per_frame(model, audio, model.config.stack.group)
    return round(macs * config.sample_rate / config.hop_length)


def _macs_per_frame(
    network: Callable[[Tensor], Tensor], inputs: Callable[[int], Tensor], frames: int
) -> float:
    """Return what each frame from the first `frames` on costs a network."""
    costs = []
    for count in (frames, 2 * frames):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(inputs(count))
        costs.append(counter.get_total_flops())
    return (costs[1] - costs[0]) / (2 * frames)


def licence_of(folder: Path) -> str | None:
    """Read `license` (or `licence`) from the front matter of a model card, README.md.

    Raises:
        RecurraError: the front matter is not YAML.
    """
    card = folder / "README.md"
    if not card.is_file():
        return None
    lines = card.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in (line.strip() for line in lines[1:]):
        return None
    end = next(i for i, line in enumerate(lines[1:], 1) if line.strip() == "---")
    try:
        facts = yaml.safe_load("\n".join(lines[1:end]))
    except yaml.YAMLError as error:
        raise RecurraError(f"{card}: its front matter is not YAML: {error}") from error
    if not isinstance(facts, dict):
        return None
    stated = facts.get("license", facts.get("licence"))
    return None if stated is None else str(stated)
