"""Decode one sound file to 16 kHz mono, without DC and rumble."""

from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from recurra.speech.data.filtering import SAMPLE_RATE, filter_gain

# Below this there is no speech and little of any noise that is heard, but much DC and rumble.
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
    low, high = HIGH_PASS_HZ

    def gain(hertz: np.ndarray) -> np.ndarray:
        return np.sin(0.5 * np.pi * np.clip((hertz - low) / (high - low), 0.0, 1.0)) ** 2

    return filter_gain(audio - audio.mean(), gain)
