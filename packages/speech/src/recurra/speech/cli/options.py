"""What the commands share: their name, the option for a model, and how threads are limited."""

from typing import Annotated

import typer

PACKAGE = "recurra-speech"

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A shipped model, a model folder, or a Hub id.")
]


def set_threads(threads: int | None, jobs: int = 1) -> None:
    """Limit torch to a number of threads, None for its choice, shared out among jobs at once."""
    if threads is not None or jobs > 1:
        import torch

        torch.set_num_threads(max(1, (threads or torch.get_num_threads()) // jobs))
