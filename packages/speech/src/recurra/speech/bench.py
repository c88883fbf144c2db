"""How fast models are on this machine, and how much memory they take."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from recurra.core.errors import RecurraError
from recurra.core.memory import peak_memory
from recurra.core.pretrained import shipped_names
from recurra.speech.models.load import find_folder, load_any
from recurra.speech.models.mossformer2_sr import MossFormer2Sr
from recurra.speech.models.mossformer2_ss import MossFormer2Ss

_WEIGHTS = "recurra.speech.weights"
_REPEATS = 3


@dataclass(frozen=True)
class Speed:
    """What one model takes on this machine.

    Attributes:
        model: as it was asked for.
        kind: the architecture.
        sample_rate: of the model and of the audio, in Hz.
        seconds_of_audio: how long the audio was.
        real_time_factor: seconds of wall clock for a second of audio, the median of three runs.
        cpu_factor: seconds of CPU, on all cores together, for a second of audio, of the same runs.
        peak_mib: the most memory that the process held, in MiB of 2**20 bytes, with Python and
            torch, and without what lies on a GPU; None where the system does not tell.
        base_mib: the most that it held when the model had been loaded and nothing run.
    """

    model: str
    kind: str
    sample_rate: int
    seconds_of_audio: float
    real_time_factor: float
    cpu_factor: float
    peak_mib: float | None
    base_mib: float | None


def bench(
    models: Sequence[str],
    *,
    seconds: float = 10.0,
    threads: int | None = None,
    device: str = "cpu",
    precision: Literal["f32", "bf16"] = "f32",
) -> Iterator[Speed]:
    """Measure models on noise, each in a process of its own, so that its memory is its own.

    Args:
        models: names, folders or Hub ids; none of them stands for all that ship.
        seconds: of one channel of audio at the model's rate, in one window.
        threads: of the CPU; None is torch's choice.
        device, precision: as for `Enhancer`.

    Raises:
        RecurraError: a model is not there or does not run; too little audio.
    """
    if not 0.1 <= seconds <= 600:
        raise RecurraError(f"the audio is of 0.1 to 600 seconds, not {seconds:g}")
    names = list(models) or shipped_names(_WEIGHTS)
    for name in names:
        find_folder(name)  # all are there before the first takes its time
    for name in names:
        task = {"name": name, "seconds": seconds, "device": device, "precision": precision}
        words = [sys.executable, "-m", "recurra.speech.bench", json.dumps(task | {"n": threads})]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        if ended.returncode:
            reason = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
            raise RecurraError(f"{name}: {reason.removeprefix('error: ')}")
        yield Speed(**json.loads(ended.stdout.splitlines()[-1]))


def measure(name: str, seconds: float, device: str, precision: Literal["f32", "bf16"]) -> Speed:
    """Measure one model in this process; see `bench`.

    Raises:
        RecurraError: the model is not there, or this machine has no such device.
    """
    import statistics
    import time

    import numpy as np

    from recurra.speech.enhancer import EnhanceOptions, Enhancer
    from recurra.speech.separator import SeparateOptions, Separator
    from recurra.speech.upsampler import UpsampleOptions, Upsampler

    model = load_any(name)
    window = max(4.0, seconds)
    run: Enhancer | Separator | Upsampler
    options: EnhanceOptions | SeparateOptions | UpsampleOptions
    if isinstance(model, MossFormer2Ss):
        run = Separator(model, device=device, precision=precision)
        options = SeparateOptions(window_seconds=window)
    elif isinstance(model, MossFormer2Sr):
        run = Upsampler(model, device=device, precision=precision)
        options = UpsampleOptions(window_seconds=window)
    else:
        run = Enhancer(model, device=device, precision=precision)
        options = EnhanceOptions(window_seconds=window)
    rate = run.sample_rate
    noise = np.random.default_rng(0).standard_normal((1, round(seconds * rate)))
    audio = (0.1 * noise).astype(np.float32)
    base = peak_memory()
    wall, cpu = [], []
    for _ in range(_REPEATS):
        start = time.perf_counter(), time.process_time()
        run(audio, rate, options)  # type: ignore[arg-type]  # the options are of its kind
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return Speed(
        model=name,
        kind=model.kind,
        sample_rate=rate,
        seconds_of_audio=audio.shape[1] / rate,
        real_time_factor=statistics.median(wall) / seconds,
        cpu_factor=statistics.median(cpu) / seconds,
        peak_mib=peak_memory(),
        base_mib=base,
    )


def _main(task: str) -> int:
    import torch

    wanted = json.loads(task)
    if (threads := wanted.pop("n")) is not None:
        torch.set_num_threads(threads)
    try:
        print(json.dumps(asdict(measure(**wanted))))
    except RecurraError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
