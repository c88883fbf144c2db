"""Clean sound live from a microphone to a loudspeaker, through sounddevice (PortAudio)."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from recurra.core.errors import RecurraError, import_extra
from recurra.speech.enhancer import Enhancer
from recurra.speech.live import LiveReport, open_stream
from recurra.speech.stream import EnhancerStream

Device = int | str | None


@dataclass(frozen=True)
class SoundDevice:
    """One device: `index` or a part of `name` selects it; channels of 0 mean that it has none."""

    index: int
    name: str
    inputs: int
    outputs: int
    sample_rate: int
    is_default_input: bool
    is_default_output: bool


def list_devices() -> list[SoundDevice]:
    """Return every sound device.

    Raises:
        RecurraError: sounddevice or PortAudio is not installed.
    """
    sounddevice = _sounddevice()
    first, second = sounddevice.default.device
    return [
        SoundDevice(
            index=index,
            name=str(device["name"]),
            inputs=int(device["max_input_channels"]),
            outputs=int(device["max_output_channels"]),
            sample_rate=round(device["default_samplerate"]),
            is_default_input=index == first,
            is_default_output=index == second,
        )
        for index, device in enumerate(sounddevice.query_devices())
    ]


def clean_devices(
    enhancer: Enhancer,
    *,
    input: Device = None,
    output: Device = None,
    sample_rate: int | None = None,
    channels: int = 1,
    tell: Callable[[str], None] = lambda line: None,
    stop: threading.Event | None = None,
) -> LiveReport:
    """Clean what one device records and play it on another, until Ctrl-C or `stop`.

    Args:
        enhancer: of a causal model.
        input: index, or a part of the name that only one device has; None is the default.
        output: the same for what plays.
        sample_rate: None takes the model's rate where both devices can do it, which has the lowest
            latency, else the input's own.
        channels: recorded, cleaned and played.
        tell: takes a line for a person, such as the latency.
        stop: set from another thread to end; Ctrl-C ends too.

    Raises:
        RecurraError: no such device, one that cannot do the rate or channels, sounddevice or
            PortAudio missing, a model that is not causal, or a device that fails on the way.
    """
    sounddevice = _sounddevice()
    stop = stop or threading.Event()
    with _in_one_line(sounddevice):
        if sample_rate is None:
            sample_rate = _choose_rate(sounddevice, enhancer.sample_rate, input, output, channels)
        stream = open_stream(enhancer, sample_rate, channels)
        hop = round(sample_rate * enhancer.model.config.hop_length / enhancer.sample_rate)
        player = Player(stream, stop)
        with sounddevice.Stream(
            samplerate=sample_rate,
            blocksize=hop,
            device=(input, output),
            channels=channels,
            dtype="float32",
            latency="low",
            callback=player.callback,
        ) as device:
            devices = sum(device.latency)
            tell(
                f"latency {1000 * (stream.latency_seconds + devices):.0f} ms: "
                f"{1000 * stream.latency_seconds:.0f} ms model, {1000 * devices:.0f} ms devices, "
                f"at {sample_rate} Hz"
            )
            ended = "end"
            try:
                # Waits with a limit can be interrupted on every system; one without cannot.
                while not stop.wait(0.2):
                    if not device.active:
                        raise RecurraError("the sound device stopped")
            except KeyboardInterrupt:
                ended = "interrupted"
    if player.error is not None:
        raise player.error
    return LiveReport(
        player.samples, stream.latency_seconds, player.clipped, ended, glitches=player.glitches
    )


class Player:
    """Answers a device: a block recorded gives as many samples cleaned, `latency` samples late."""

    def __init__(self, stream: EnhancerStream, stop: threading.Event) -> None:
        self._stream = stream
        self._stop = stop
        self._line = np.zeros((stream.channels, stream.latency), np.float32)
        self.samples = 0
        self.clipped = 0
        self.glitches = 0
        self.error: Exception | None = None

    def callback(
        self, recorded: np.ndarray, playing: np.ndarray, frames: int, time: Any, status: Any
    ) -> None:
        """Take recorded (n, C) and fill playing (n, C); an error ends the run, after silence."""
        playing.fill(0)
        if self.error is not None:
            return
        self.glitches += bool(status)
        try:
            cleaned = self._stream.push(np.ascontiguousarray(recorded.T))
        except Exception as error:  # nothing may leave a callback: it is raised where the run waits
            self.error = error
            self._stop.set()
            return
        line = np.concatenate([self._line, cleaned], axis=1)
        heard = line[:, :frames].T
        self._line = line[:, frames:]
        self.clipped += int(np.count_nonzero(np.abs(heard) > 1))
        playing[:] = np.clip(heard, -1, 1)
        self.samples += frames


def _choose_rate(
    sounddevice: ModuleType, rate: int, input: Device, output: Device, channels: int
) -> int:
    """Return the model's rate where both devices can do it, else the input's own."""
    try:
        sounddevice.check_input_settings(device=input, channels=channels, samplerate=rate)
        sounddevice.check_output_settings(device=output, channels=channels, samplerate=rate)
    except sounddevice.PortAudioError:
        return round(sounddevice.query_devices(input, "input")["default_samplerate"])
    return rate


def _sounddevice() -> ModuleType:
    try:
        return import_extra("sounddevice", extra="live", package="recurra-speech")
    except OSError as error:  # what sounddevice raises where the library under it is missing
        raise RecurraError(
            "sound devices need PortAudio: apt install libportaudio2 (Debian, Ubuntu), "
            "dnf install portaudio (Fedora) or brew install portaudio (macOS)"
        ) from error


@contextlib.contextmanager
def _in_one_line(sounddevice: ModuleType):
    """Turn what sounddevice says about a device into one line."""
    try:
        yield
    except sounddevice.PortAudioError as error:
        raise RecurraError(f"sound device: {error}") from error
    except ValueError as error:  # no such device, or several of that name
        raise RecurraError(f"sound device: {error}; --list-devices shows them") from error
