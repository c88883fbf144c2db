"""Runs in an environment of its own, started by speech_scores.py: the peers' enhancement, and PESQ.

    speech_peers.py denoise NOISY OUT
        OUT/<peer>/<name>.wav for every NOISY/<name>.wav, and OUT/peers.json
    speech_peers.py pesq CLEAN JSON FOLDER...
        PESQ-WB of every FOLDER/<name>.wav against CLEAN/<name>.wav

All files are mono at 16 kHz. The peers run with their default settings.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
RNNOISE_RATE = 48_000
MAX_DELAY = 4800  # samples at 48 kHz: 100 ms
STATIONARY, NONSTATIONARY, RNNOISE = "noisereduce-stationary", "noisereduce", "pyrnnoise"


def main() -> None:
    task, *rest = sys.argv[1:]
    if task == "denoise":
        denoise(Path(rest[0]), Path(rest[1]))
    else:
        score(Path(rest[0]), Path(rest[1]), [Path(folder) for folder in rest[2:]])


def denoise(noisy: Path, out: Path) -> None:
    """Write what the three peers make of a folder, and their versions."""
    import noisereduce

    for peer in (STATIONARY, NONSTATIONARY, RNNOISE):
        (out / peer).mkdir(parents=True, exist_ok=True)
    by_rnnoise: dict[str, tuple[np.ndarray, int]] = {}
    for path in sorted(noisy.glob("*.wav")):
        audio = read(path)
        for peer, stationary in ((STATIONARY, True), (NONSTATIONARY, False)):
            write(out / peer / path.name, noisereduce.reduce_noise(audio, RATE, stationary))
        by_rnnoise[path.name] = rnnoise(audio)
    # The delay is a constant of the filter bank. It is found against the noisy input, so that the
    # clean reference helps nobody; the median aligns a clip whose correlation misleads as well.
    delays = [delay for _, delay in by_rnnoise.values()]
    delay = round(float(np.median(delays)))
    for name, (cleaned, _) in by_rnnoise.items():
        write(out / RNNOISE / name, to_16_khz(cleaned, delay, len(read(noisy / name))))
    versions = {name: importlib.metadata.version(name) for name in ("noisereduce", "pyrnnoise")}
    details = {
        "versions": versions | {"pesq": importlib.metadata.version("pesq")},
        "pyrnnoise_delay_samples_at_48_khz": delay,
        "pyrnnoise_clips_at_that_delay": sum(abs(d - delay) <= 1 for d in delays),
    }
    (out / "peers.json").write_text(json.dumps(details))


def rnnoise(audio: np.ndarray) -> tuple[np.ndarray, int]:
    """Clean (T,) at 16 kHz with RNNoise: its output at 48 kHz, and how many samples it is late."""
    import soxr
    from pyrnnoise import RNNoise

    high = soxr.resample(audio, RATE, RNNOISE_RATE, "VHQ")
    high = np.concatenate([high, np.zeros(MAX_DELAY, np.float32)])  # what is late comes out too
    pcm = np.clip(np.rint(high * 32768), -32768, 32767).astype(np.int16)
    frames = RNNoise(RNNOISE_RATE).denoise_chunk(pcm[None], partial=True)
    cleaned = np.concatenate([frame[0] for _, frame in frames]).astype(np.float32) / 32768
    length = min(len(high), len(cleaned))
    size = 1 << (2 * length - 1).bit_length()
    spectrum = np.fft.rfft(cleaned[:length], size) * np.conj(np.fft.rfft(high[:length], size))
    correlation = np.fft.irfft(spectrum, size)
    lags = np.arange(-MAX_DELAY, MAX_DELAY + 1)
    return cleaned, int(lags[np.argmax(correlation[lags])])


def to_16_khz(cleaned: np.ndarray, delay: int, length: int) -> np.ndarray:
    """Undo the delay of (T,) at 48 kHz and resample it to exactly `length` samples."""
    import soxr

    early = np.zeros(max(0, -delay), np.float32)
    aligned = np.concatenate([early, cleaned[max(0, delay) :]])
    low = soxr.resample(aligned, RNNOISE_RATE, RATE, "VHQ")[:length]
    return np.pad(low, (0, length - len(low)))


def score(clean: Path, target: Path, folders: list[Path]) -> None:
    """Write {folder: {name: score, or the reason why there is none}}."""
    from recurra.speech.metrics import Skipped, pesq_wb

    result: dict[str, dict[str, float | str]] = {}
    for folder in folders:
        scores = result.setdefault(folder.name, {})
        for path in sorted(folder.glob("*.wav")):
            value = pesq_wb(read(clean / path.name), read(path), RATE)
            scores[path.stem] = value.reason if isinstance(value, Skipped) else value
    target.write_text(json.dumps(result))


def read(path: Path) -> np.ndarray:
    audio, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or audio.ndim != 1:
        raise ValueError(f"{path}: {rate} Hz, {audio.shape}; wanted is mono at {RATE} Hz")
    return audio


def write(path: Path, audio: np.ndarray) -> None:
    soundfile.write(path, np.asarray(audio, np.float32), RATE, "FLOAT")


if __name__ == "__main__":
    main()
