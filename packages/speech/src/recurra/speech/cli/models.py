"""The commands about models themselves: what one is, a foreign one made ours, ours made ONNX."""

from pathlib import Path
from typing import Annotated

import typer

from recurra.core.cli import JsonOption
from recurra.core.files import refuse_to_overwrite
from recurra.speech.cli.options import DeviceOption, ForceOption, PrecisionOption


def info(
    model: Annotated[
        str, typer.Argument(help="A shipped model, a model folder, or a Hub id.")
    ] = "frcrn-small",
    json: JsonOption = False,
) -> None:
    """Describe a model: size, cost, speakers, latency, look-ahead, licence.

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
        *([] if facts.speakers is None else [("speakers", f"{facts.speakers}")]),
        ("window, hop", f"{facts.window}, {facts.hop} samples"),
        ("latency", facts.latency_text),
        ("look-ahead", facts.look_ahead_text),
        ("licence", facts.licence or "not stated"),
    ]
    print_table(rows, ["", ""])


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Shipped models, model folders or Hub ids; all that ship by default."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="How much audio a run has.")
    ] = 10.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; the default is all cores.")
    ] = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "f32",
    json: JsonOption = False,
) -> None:
    """Measure models on this machine: time for a second of audio, and memory.

    The real-time factor is of wall clock, beside it stands that of CPU time on all cores: medians
    of three runs on noise, one channel in one window. The memory is the most that a process with
    nothing but this model held, and, before it, when the model had been loaded.

    \b
    Examples:
      recurra-speech bench
      recurra-speech bench frcrn-small mossformer2-se --threads 1 --json
    """
    from dataclasses import asdict

    from recurra.core.cli import print_json, print_table
    from recurra.speech.bench import bench as measure_all

    found = list(
        measure_all(
            models or [], seconds=seconds, threads=threads, device=device, precision=precision
        )
    )
    if json:
        print_json([asdict(speed) for speed in found])
        return
    print_table(
        [
            (
                speed.model,
                speed.kind,
                speed.sample_rate,
                f"{speed.real_time_factor:.3f}",
                f"{speed.cpu_factor:.3f}",
                None if speed.base_mib is None else round(speed.base_mib),
                None if speed.peak_mib is None else round(speed.peak_mib),
            )
            for speed in found
        ],
        ["model", "kind", "Hz", "real-time factor", "CPU factor", "loaded MiB", "peak MiB"],
    )


def export(
    model: Annotated[str, typer.Argument(help="A shipped model, a folder, or a Hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file.")],
    force: ForceOption = False,
) -> None:
    """Write a model as ONNX, and check it against torch with onnxruntime.

    \b
    Example:
      recurra-speech export frcrn-small -o frcrn-small.onnx
    """
    from recurra.speech.export import export_onnx

    refuse_to_overwrite(output, force=force)
    report = export_onnx(model, output)
    typer.echo(
        f"wrote {report.path} ({report.form}, {report.stored_bytes / 1e6:.2f} MB); "
        f"largest difference from torch {report.max_error:.1e} of the peak"
    )


def import_checkpoint(
    checkpoint: Annotated[
        list[Path],
        typer.Argument(
            help="A .pt file (of _SR_48K both), the folder of an official checkpoint, or a Hub id."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model folder to make.")],
    sample_rate: Annotated[
        int | None,
        typer.Option(
            metavar="HZ", help="Of a separator; 8000 for three files, else 16000 by default."
        ),
    ] = None,
    no_masking: Annotated[
        bool, typer.Option("--no-masking", help="A separator like the paper's for WHAMR!.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """Make a model folder of an official checkpoint.

    FRCRN_SE_16K, MossFormer2_SE_48K, MossFormer2_SS_16K and MossFormer2_SR_48K are from
    ClearerVoice-Studio. A folder of encoder.ckpt, masknet.ckpt and decoder.ckpt is a separator of
    the MossFormer2 paper. Nothing in a checkpoint is executed, and every tensor has to fit. A model
    folder that is there is replaced with --force only.

    \b
    Examples:
      recurra-speech import-checkpoint checkpoints/FRCRN_SE_16K -o frcrn-official
      recurra-speech import-checkpoint alibabasglab/MossFormer2_SE_48K -o se
      recurra-speech import-checkpoint MossFormer2_SS_16K/last_best_checkpoint.pt -o ss
      recurra-speech import-checkpoint last_best_checkpoint_m.pt last_best_checkpoint_g.pt -o sr
      recurra-speech import-checkpoint mossformer2-whamr-2spk -o whamr --no-masking
    """
    from recurra.speech.models.official import import_official

    refuse_to_overwrite(output / "model.safetensors", force=force)
    made = import_official(checkpoint, output, sample_rate=sample_rate, masking=not no_masking)
    parameters = sum(parameter.numel() for parameter in made.model.parameters())
    typer.echo(
        f"wrote {output} ({parameters / 1e6:.2f} million parameters): {made.model.kind} "
        f"of {made.n_read} tensors of {made.layout}"
    )
    for reason, names in made.left.items():
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        typer.echo(f"left {len(names)}: {reason} ({shown})")
