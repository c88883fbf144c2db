"""Train a separator on mixtures of voices that are made as they are needed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from recurra.core.errors import RecurraError
from recurra.core.pretrained import load_tensors
from recurra.core.training import Draw, FitConfig, FitResult, Task, fit
from recurra.speech.data.corpora import Corpus
from recurra.speech.data.speaker_mixing import SpeakerMixingConfig, SpeakerMixtures
from recurra.speech.models.mossformer2_ss import (
    MOSSFORMER2_SMALL,
    MossFormer2Ss,
    MossFormer2SsConfig,
)
from recurra.speech.separation_loss import separation_loss


@dataclass(frozen=True)
class SeparationTrainConfig:
    """A training run: what is trained, on what, and how.

    Attributes:
        task: what tells the file of such a run from one that trains an enhancer.
        model: the network.
        data: the mixtures; `n_speakers` is the network's.
        fit: steps, rates, checkpoints.
        first_filters: of the filter bank: "random", or the cosines and sines of a "fourier"
            transform, see `MossFormer2Ss.use_fourier_filters`.
        start_from: a model whose weights the run begins with, filters too; None begins at random.
        validation_clips: mixtures of the validation split that judge the model.
        validation_seconds: length of each.
    """

    task: Literal["separation"] = "separation"
    model: MossFormer2SsConfig = MOSSFORMER2_SMALL
    data: SpeakerMixingConfig = field(default_factory=SpeakerMixingConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    first_filters: Literal["random", "fourier"] = "random"
    start_from: str | None = None
    validation_clips: int = 48
    validation_seconds: float = 4.0

    def __post_init__(self) -> None:
        if self.model.n_speakers != self.data.n_speakers:
            raise RecurraError(
                f"model.n_speakers is {self.model.n_speakers} and data.n_speakers "
                f"{self.data.n_speakers}; give one number"
            )


class SeparationTask(Task):
    """Take the voices of a mixture apart; judged by SI-SDR improvement, higher is better."""

    higher_is_better = True

    def __init__(
        self,
        model: MossFormer2Ss,
        training_data: Dataset[Any],
        validation: Sequence[dict[str, Tensor]],
    ) -> None:
        """Take a model, mixtures over `Draw`, and the items that judge it."""
        self.model = model
        self.training_data = training_data
        self._validation = validation

    def training_step(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Separate a batch of "mixture" (B, n) into "voices" (B, S, n)."""
        estimates: Tensor = model(batch["mixture"])
        n = estimates.shape[2]  # what lies in whole frames
        return separation_loss(estimates, batch["voices"][..., :n], batch["mixture"][:, :n])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the mean SI-SDR improvement in dB and the mean loss over the validation items."""
        totals = {"si_sdri": 0.0, "loss": 0.0}
        device = next(model.parameters()).device
        for item in self._validation:
            batch = {name: tensor[None].to(device) for name, tensor in item.items()}
            for name, value in self.training_step(model, batch).items():
                totals[name] += value.item()
        return {name: total / len(self._validation) for name, total in totals.items()}


def train_separation(
    config: SeparationTrainConfig, corpus_folder: Path, run_folder: Path, *, progress: bool = True
) -> FitResult:
    """Train, or go on with the run in `run_folder`.

    Args:
        config: see `SeparationTrainConfig`.
        corpus_folder: what `recurra-speech data fetch` made.
        run_folder: of this run alone; its `best` and `last` are model folders.
        progress: show steps on stderr.

    Raises:
        RecurraError: the corpus or the run folder cannot be used, or the folder is of another run.
    """
    torch.manual_seed(config.fit.seed)
    model = MossFormer2Ss(config.model)
    if config.first_filters == "fourier":
        model.use_fourier_filters()
    if config.start_from is not None:
        load_tensors(model, MossFormer2Ss.from_pretrained(config.start_from).state_dict())
    corpus = Corpus(corpus_folder)
    usual = replace(
        config.data.as_recorded(),
        seconds=config.validation_seconds,
        items=config.validation_clips,
    )
    held_out = SpeakerMixtures(corpus, usual, split="validation")
    items = [held_out[Draw(0, index)] for index in range(config.validation_clips)]
    task = SeparationTask(model, SpeakerMixtures(corpus, config.data), items)
    settings = {**asdict(config), "corpus": corpus.digest()}
    del settings["fit"]
    return fit(task, config.fit, run_folder, settings=settings, progress=progress)
