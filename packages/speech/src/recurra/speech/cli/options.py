"""What the commands share: their name, their options, and how threads are limited."""

from typing import Annotated

import typer

PACKAGE = "recurra-speech"

InputsArgument = Annotated[
    list[str], typer.Argument(help="Audio or video files, folders, patterns, or - for a pipe.")
]
OutputOption = Annotated[
    str | None, typer.Option("--output", "-o", help="A file, a folder, or - for a pipe.")
]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A shipped model, a model folder, or a Hub id.")
]
BandOption = Annotated[
    str, typer.Option(help="Above the model's band: keep (it follows the band) or model.")
]
DownmixOption = Annotated[bool, typer.Option("--downmix", help="Mix all channels into one.")]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace outputs that are there.")]
WindowOption = Annotated[
    float, typer.Option(metavar="SECONDS", help="Longer files are worked on in windows.")
]
BatchOption = Annotated[
    int | None,
    typer.Option(min=1, help="Windows of a file at once on the device; 4 on CUDA, else 1."),
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, ...")]
PrecisionOption = Annotated[str, typer.Option(help="f32 or bf16.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads in all; the default is all cores.")
]
JobsOption = Annotated[
    int, typer.Option(min=1, help="Files in work at once; windows of a single one.")
]


def set_threads(threads: int | None, jobs: int = 1) -> None:
    """Limit torch to a number of threads, None for its choice, shared out among jobs at once."""
    if threads is not None or jobs > 1:
        import torch

        torch.set_num_threads(max(1, (threads or torch.get_num_threads()) // jobs))
