"""Decode one sound file to 16 kHz mono, without DC and rumble."""

from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16_000
# Below this there is no speech and little of any noise that a loudspeaker plays, but much DC and rumble.
HIGH_PASS_HZ = (20.0, 50.0)


class UnusableSoundError(ValueError):
    """A file that no decoder reads, or that holds nothing."""


def decode(path: Path) -> tuple[np.ndarray, int]:
    """Read a file of a sound package.

    G.722 is read by PyAV; .raw is headerless 16-bit little-endian PCM at 16 kHz, as pocketsphinx
    has it; everything else is read by soundfile. Channels are averaged.

    Returns:
        (T,) float32 at 16 kHz, and the sample rate of the file.

    Raises:
        UnusableSoundError: it cannot be read, is empty, or holds NaN.
    """
    try:
        match path.suffix.lower():
            case ".g722":
                audio, rate = _decode_g722(path)
            case ".raw":
                audio = np.fromfile(path, dtype="<i2").astype(np.float32) / 32768
                rate = SAMPLE_RATE
            case _:
                frames, rate = soundfile.read(path, dtype="float32", always_2d=True)
                audio = frames.mean(axis=1)
    except (OSError, ValueError, soundfile.SoundFileError, av.FFmpegError) as error:
        raise UnusableSoundError(f"{path}: {error}") from error
    if not len(audio) or not np.isfinite(audio).all():
        raise UnusableSoundError(f"{path}: no samples, or not finite")
    if rate != SAMPLE_RATE:
        audio = soxr.resample(audio, rate, SAMPLE_RATE, quality="HQ")
    return remove_rumble(audio), rate


def _decode_g722(path: Path) -> tuple[np.ndarray, int]:
    """A headerless G.722 file."""
    with av.open(str(path), format="g722") as container:
        stream = container.streams.audio[0]
        blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(stream)]
        if not blocks:
            raise UnusableSoundError(f"{path}: no frames")
        return np.concatenate(blocks).astype(np.float32) / 32768, stream.rate


def remove_rumble(audio: np.ndarray) -> np.ndarray:
    """Zero-phase high-pass: nothing below 20 Hz, everything above 50 Hz.

    Args:
        audio: (T,) at 16 kHz.

    Returns:
        (T,) float32.
    """
    # Padding keeps what is at the end from leaking into the beginning; a smooth length is fast.
    size = _smooth_length(len(audio) + SAMPLE_RATE // 10)
    spectrum = np.fft.rfft(audio - audio.mean(), size)
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    low, high = HIGH_PASS_HZ
    position = np.clip((hertz - low) / (high - low), 0.0, 1.0)
    spectrum *= np.sin(0.5 * np.pi * position) ** 2
    return np.fft.irfft(spectrum, size)[: len(audio)].astype(np.float32)


def _smooth_length(length: int) -> int:
    """The next length of the form 2^a, 3 2^a or 5 2^a, for which an FFT is fast."""
    power = 1 << max(length - 1, 1).bit_length()
    return min(n for n in (power, power * 3 // 4, power * 5 // 8) if n >= length)
