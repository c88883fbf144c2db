"""Train an enhancement model on mixtures that are made as they are needed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from recurra.core.pretrained import load_tensors
from recurra.core.training import Draw, FitConfig, FitResult, Task, fit
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.mixing import MixingConfig, Mixtures
from recurra.speech.losses import enhancement_loss, si_sdr
from recurra.speech.models.frcrn import Frcrn, FrcrnConfig


@dataclass(frozen=True)
class TrainConfig:
    """A training run: what is trained, on what, and how.

    Attributes:
        model: the network.
        data: the mixtures.
        fit: steps, rates, checkpoints.
        start_from: a model whose weights the run begins with; None begins at random.
        validation_clips: mixtures of the validation split that judge the model.
        validation_seconds: length of each.
    """

    model: FrcrnConfig = field(default_factory=FrcrnConfig)
    data: MixingConfig = field(default_factory=MixingConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    start_from: str | None = None
    validation_clips: int = 48
    validation_seconds: float = 4.0


class EnhancementTask(Task):
    """Enhance a noisy mixture; judged by the training loss on fixed mixtures, lower is better."""

    higher_is_better = False

    def __init__(
        self, model: Frcrn, training_data: Dataset[Any], validation: Sequence[dict[str, Tensor]]
    ) -> None:
        """Take a model, mixtures over `Draw`, and the items that judge it."""
        self.model = model
        self.training_data = training_data
        self._validation = validation

    def training_step(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Enhance a batch of "noisy" (B, n) towards "clean" (B, n)."""
        estimate = self._enhance(model, batch["noisy"])
        return enhancement_loss(estimate, batch["clean"], batch["noisy"])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean loss, disturbance, and SI-SDR in dB before and after, over the validation items."""
        totals = {"loss": 0.0, "disturbance": 0.0, "si_sdr": 0.0, "si_sdr_noisy": 0.0}
        device = next(model.parameters()).device
        for item in self._validation:
            noisy, clean = item["noisy"][None].to(device), item["clean"][None].to(device)
            values = enhancement_loss(self._enhance(model, noisy), clean, noisy)
            for name in ("loss", "disturbance", "si_sdr"):
                totals[name] += values[name].item()
            totals["si_sdr_noisy"] += si_sdr(reference=clean, estimate=noisy).item()
        return {name: total / len(self._validation) for name, total in totals.items()}

    def _enhance(self, model: nn.Module, noisy: Tensor) -> Tensor:
        config = self.model.config
        edge = config.win_length - config.hop_length
        padded = functional.pad(noisy, (edge, edge + -noisy.shape[1] % config.hop_length))
        estimate: Tensor = model(padded)
        return estimate[:, edge : edge + noisy.shape[1]]


def train(
    config: TrainConfig, corpus_folder: Path, run_folder: Path, *, progress: bool = True
) -> FitResult:
    """Train, or go on with the run in `run_folder`.

    Args:
        config: see `TrainConfig`.
        corpus_folder: what `recurra-speech data fetch` made.
        run_folder: of this run alone; its `best` and `last` are model folders.
        progress: show steps on stderr.

    Raises:
        RecurraError: the corpus or the run folder cannot be used, or the folder is of another run.
    """
    torch.manual_seed(config.fit.seed)
    model = Frcrn(config.model)
    if config.start_from is not None:
        load_tensors(model, Frcrn.from_pretrained(config.start_from).state_dict())
    corpus = Corpus(corpus_folder)
    held_out = Mixtures(corpus, _validation_mixing(config), split="validation")
    items = [held_out[Draw(0, index)] for index in range(config.validation_clips)]
    task = EnhancementTask(model, Mixtures(corpus, config.data, split="train"), items)
    settings = {**asdict(config), "corpus": corpus.digest()}
    del settings["fit"]
    return fit(task, config.fit, run_folder, settings=settings, progress=progress)


def _validation_mixing(config: TrainConfig) -> MixingConfig:
    """Make every held-out mixture one of speech and noise, as recorded, at usual ratios."""
    return replace(
        config.data,
        seconds=config.validation_seconds,
        items=config.validation_clips,
        snr_db=(0.0, 10.0),
        noise_only_share=0.0,
        clean_share=0.0,
        speed_share=0.0,
        equalised_share=0.0,
    )
