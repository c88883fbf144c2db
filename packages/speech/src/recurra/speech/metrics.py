"""How good enhanced speech is: SI-SDR, PESQ-WB, STOI and DNSMOS.

Every metric takes float arrays (T,) with full scale at 1 and gives a number or `Skipped` with the
reason: a silent reference or a clip that is too short has no score, and no number is made up. The
estimate is scored as it is: no delay is searched for and no level is matched.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.core.errors import MissingExtraError, import_extra

METRICS = ("si_sdr", "pesq", "stoi", "dnsmos")
_PACKAGE = "recurra-speech"
_LIBRARIES = {
    "pesq": ("pesq", ("pesq",)),
    "stoi": ("metrics", ("pystoi",)),
    "dnsmos": ("metrics", ("onnxruntime", "speechmos.dnsmos")),
}
_RATE = 16_000  # PESQ-WB and DNSMOS are defined at this rate
_SILENCE = 2.0**-16  # half a step of 16 bits
# Two signals that differ only by the rounding of float64 come out at about 300 dB.
_SI_SDR_LIMIT = 200.0
# What a voice of which nothing was found counts as, in dB of SI-SDR, where voices are averaged:
# that of silence is no number, and without one failures would not count.
NOTHING_FOUND_DB = -30.0
# The ITU code keeps at most 50 utterances and does not check it: 40 s of short words with pauses of
# 0.2 s crash the process (pesq 0.0.4). On 20 s, no length of words and pauses was found that does.
_PESQ_SECONDS = 20.0
_STOI_SECONDS = 0.4  # 30 frames, of 25.6 ms every 12.8 ms
_DNSMOS_SECONDS = 1.0


@dataclass(frozen=True)
class Skipped:
    """There is no score, for this reason.

    Attributes:
        reason: in words.
        nothing_found: the estimate is silent, or holds nothing of the reference, which is there.
    """

    reason: str
    nothing_found: bool = False


Score = float | Skipped
Audio = NDArray[np.floating[Any]]


def measure(
    reference: Audio, estimate: Audio, sample_rate: int, metrics: Sequence[str] = METRICS
) -> dict[str, Score]:
    """Score one channel by several metrics.

    Args:
        reference: (T,), clean.
        estimate: (T,), of the same length.
        sample_rate: of both, in Hz.
        metrics: of `METRICS`.

    Returns:
        by name; "dnsmos" (overall) comes with "dnsmos_sig", "dnsmos_bak" and "dnsmos_p808".

    Raises:
        MissingExtraError: a metric needs a library that is not installed.
        ValueError: a metric is unknown, or the shapes differ.
    """
    scores: dict[str, Score] = {}
    for name in metrics:
        if name == "si_sdr":
            scores[name] = si_sdr(reference, estimate)
        elif name == "pesq":
            scores[name] = pesq_wb(reference, estimate, sample_rate)
        elif name == "stoi":
            scores[name] = stoi(reference, estimate, sample_rate)
        elif name == "dnsmos":
            opinion = dnsmos(estimate, sample_rate)
            keys = ("dnsmos", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808")
            skipped = isinstance(opinion, Skipped)
            scores |= dict.fromkeys(keys, opinion) if skipped else opinion
        else:
            raise ValueError(f"no metric is called {name!r}; there are {', '.join(METRICS)}")
    return scores


def missing_libraries(metrics: Sequence[str] = METRICS) -> dict[str, str]:
    """Name the metrics whose library is not installed, each with the command that brings it."""
    missing = {}
    for name in metrics:
        try:
            _library(name)
        except MissingExtraError as error:
            missing[name] = str(error)
    return missing


def si_sdr(reference: Audio, estimate: Audio) -> Score:
    """Scale-invariant signal-to-distortion ratio in dB, at the rate of the files; higher is better.

    Both signals are made zero-mean; the target is the projection of the estimate on the reference.
    Source: Le Roux et al. 2019, "SDR - half-baked or well done?" (arXiv 1811.02508, eq. 5).

    Returns:
        dB; skipped where either is silent and where the ratio has no bound (beyond 200 dB).
    """
    if (problem := _problem(reference, estimate)) is not None:
        return problem
    x = reference.astype(np.float64) - np.mean(reference, dtype=np.float64)
    y = estimate.astype(np.float64) - np.mean(estimate, dtype=np.float64)
    target = x * (np.dot(x, y) / np.dot(x, x))
    wanted, error = float(np.sum(target**2)), float(np.sum((y - target) ** 2))
    bound = 10 ** (_SI_SDR_LIMIT / 10)
    if error * bound <= wanted:
        return Skipped("the estimate equals the reference: the ratio has no bound")
    if wanted * bound <= error:
        return Skipped("the estimate holds nothing of the reference: the ratio has no bound", True)
    return float(10 * np.log10(wanted / error))


def pesq_wb(reference: Audio, estimate: Audio, sample_rate: int) -> Score:
    """Wideband PESQ, ITU-T P.862.2, as MOS-LQO from 1.04 to 4.64, by the library `pesq`.

    At 16 kHz; higher rates are resampled. Recordings longer than 20 s are scored in equal pieces of
    at most 20 s (P.862 is meant for such clips) and averaged over the pieces in which it finds
    speech.

    Raises:
        MissingExtraError: the extra `pesq` is not installed.
    """
    pesq = _library("pesq")[0]
    if (problem := _problem(reference, estimate)) is not None:
        return problem
    if sample_rate < _RATE:
        return Skipped(f"wideband PESQ needs at least 16000 Hz, not {sample_rate}")
    x, y = _resampled(reference, sample_rate), _resampled(estimate, sample_rate)
    pieces = max(1, int(np.ceil(len(x) / (_PESQ_SECONDS * _RATE))))
    scores = []
    for x_piece, y_piece in zip(np.array_split(x, pieces), np.array_split(y, pieces), strict=True):
        if _is_silent(x_piece):
            continue
        # Of a silent estimate the library makes NaN and fails on it.
        if _is_silent(y_piece):
            return Skipped(f"the estimate is silent for {len(y_piece) / _RATE:.1f} s on end")
        try:
            scores.append(float(pesq.pesq(_RATE, x_piece, y_piece, "wb")))
        except pesq.NoUtterancesError:
            continue
        except pesq.BufferTooShortError:
            return Skipped("shorter than 0.25 s")
        except (pesq.PesqError, ValueError) as error:
            return Skipped(f"PESQ failed: {error}")
    return float(np.mean(scores)) if scores else Skipped("PESQ finds no utterance")


def stoi(reference: Audio, estimate: Audio, sample_rate: int) -> Score:
    """Short-time objective intelligibility, at most 1, by the library `pystoi` (not extended).

    At 16 kHz, which the library itself takes to 10 kHz. Source: Taal et al. 2011, "An algorithm for
    intelligibility prediction of time-frequency weighted noisy speech".

    Raises:
        MissingExtraError: the extra `metrics` is not installed.
    """
    pystoi = _library("stoi")[0]
    if (problem := _problem(reference, estimate, _STOI_SECONDS, sample_rate)) is not None:
        return problem
    x, y = _resampled(reference, sample_rate), _resampled(estimate, sample_rate)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(pystoi.stoi(x, y, _RATE))
    # The library returns 1e-5 then.
    if any("Not enough STFT frames" in str(warning.message) for warning in caught):
        return Skipped("less than 0.4 s of the reference are not silent")
    return value


def dnsmos(estimate: Audio, sample_rate: int) -> dict[str, float] | Skipped:
    """Mean opinion scores that a network predicts from the estimate alone, 1 to 5, by `speechmos`.

    At 16 kHz. Shorter clips than 9.01 s are repeated, longer ones scored every second and averaged,
    as in the official script; samples beyond full scale are clipped, as in a file.
    Source: Reddy et al. 2022, "DNSMOS P.835" (arXiv 2110.01763), and P.808 (arXiv 2010.15258).

    Returns:
        "dnsmos" (P.835 overall), "dnsmos_sig", "dnsmos_bak", "dnsmos_p808".

    Raises:
        MissingExtraError: the extra `metrics` is not installed.
    """
    model = _dnsmos_model()
    if (problem := _problem(estimate, estimate, _DNSMOS_SECONDS, sample_rate)) is not None:
        return Skipped(problem.reason.replace("reference", "estimate"))
    audio = np.clip(_resampled(estimate, sample_rate), -1, 1)
    values = model(audio, _RATE, False)
    names = {"ovrl": "dnsmos", "sig": "dnsmos_sig", "bak": "dnsmos_bak", "p808": "dnsmos_p808"}
    return {ours: float(values[f"{theirs}_mos"]) for theirs, ours in names.items()}


def _library(metric: str) -> tuple[Any, ...]:
    """Import the modules of a metric."""
    extra, modules = _LIBRARIES.get(metric, ("", ()))
    return tuple(import_extra(name, extra=extra, package=_PACKAGE) for name in modules)


@cache
def _dnsmos_model() -> Any:
    """The predictor of speechmos on sessions with one thread.

    Its own constructor takes as many threads as there are cores, which spin between the clips.
    """
    onnxruntime, library = _library("dnsmos")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    folder = Path(library.__file__).parent / "dnsmos_models"
    model = library.DNSMOS.__new__(library.DNSMOS)
    for attribute, name in (("onnx_sess", "sig_bak_ovr"), ("p808_onnx_sess", "model_v8")):
        path = str(folder / f"{name}.onnx")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        setattr(model, attribute, session)
    return model


def _problem(
    reference: Audio, estimate: Audio, min_seconds: float = 0.0, sample_rate: int = 1
) -> Skipped | None:
    """Say what keeps the two (T,) from being scored.

    Raises:
        ValueError: they are not (T,) of one length.
    """
    if reference.ndim != 1 or reference.shape != estimate.shape:
        shapes = f"{reference.shape} and {estimate.shape}"
        raise ValueError(f"metrics take two (T,) of one length, not {shapes}")
    if len(reference) == 0 or len(reference) < min_seconds * sample_rate:
        return Skipped(f"shorter than {min_seconds:g} s" if min_seconds else "no samples")
    for name, audio in (("reference", reference), ("estimate", estimate)):
        if not np.isfinite(audio).all():
            return Skipped(f"the {name} has samples that are not finite")
        if _is_silent(audio):
            return Skipped(f"the {name} is silent", nothing_found=name == "estimate")
    return None


def _is_silent(audio: Audio) -> bool:
    """Whether no sample is farther from the mean than half a step of 16 bits."""
    return float(np.max(np.abs(audio - np.mean(audio, dtype=np.float64)))) < _SILENCE


def _resampled(audio: Audio, sample_rate: int) -> NDArray[np.float32]:
    """(T,) at 16 kHz."""
    if sample_rate == _RATE:
        return np.asarray(audio, dtype=np.float32)
    from recurra.speech.audio.resample import resample

    return resample(np.asarray(audio, dtype=np.float32), sample_rate, _RATE)
