"""The commands about models themselves: what one is, a foreign one made ours, ours made ONNX."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import JsonOption


def info(
    model: Annotated[
        str, typer.Argument(help="A shipped model, a model folder, or a Hub id.")
    ] = "frcrn-small",
    json: JsonOption = False,
) -> None:
    """Describe a model: size, cost, latency, licence.

    \b
    Example:
      recurra-speech info frcrn-small
    """
    from dataclasses import asdict

    from recurra.core.cli import print_json, print_table
    from recurra.speech.info import describe

    facts = describe(model)
    if json:
        print_json(asdict(facts))
        return
    rows = [
        ("model", f"{facts.name} ({facts.kind})"),
        ("parameters", f"{facts.parameters / 1e6:.2f} million"),
        ("stored", f"{facts.stored_bytes / 1e6:.2f} MB"),
        ("cost", f"{facts.macs_per_second / 1e9:.2f} billion multiply-adds a second of audio"),
        ("sample rate", f"{facts.sample_rate} Hz"),
        ("window, hop", f"{facts.window}, {facts.hop} samples"),
        ("latency", facts.latency_text),
        ("licence", facts.licence or "not stated"),
    ]
    print_table(rows, ["", ""])


def export(
    model: Annotated[str, typer.Argument(help="A shipped model, a folder, or a Hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file.")],
) -> None:
    """Write a model as ONNX, and check it against torch with onnxruntime.

    \b
    Example:
      recurra-speech export frcrn-small -o frcrn-small.onnx
    """
    from recurra.speech.export import export_onnx

    report = export_onnx(model, output)
    typer.echo(
        f"wrote {report.path} ({report.form}, {report.stored_bytes / 1e6:.2f} MB); "
        f"largest difference from torch {report.max_error:.1e} of the peak"
    )


def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .pt file, or the folder that holds last_best_checkpoint.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model folder to make.")],
) -> None:
    """Make a model folder of an official FRCRN_SE_16K checkpoint (ClearerVoice-Studio).

    Nothing in the checkpoint is executed, and every tensor has to fit. A model folder that is there
    is replaced.

    \b
    Examples:
      recurra-speech import checkpoints/FRCRN_SE_16K -o frcrn-official
      recurra-speech enhance noisy.wav --model frcrn-official
    """
    from recurra.speech.models.frcrn_official import import_official

    model = import_official(checkpoint, output)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    typer.echo(f"wrote {output} ({parameters / 1e6:.2f} million parameters)")
