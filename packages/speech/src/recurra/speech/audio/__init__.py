"""Reading, writing, resampling and measuring audio: float32 numpy (C, T), full scale at 1."""

from recurra.speech.audio.format import AudioError, AudioFormat, AudioWarning, output_format
from recurra.speech.audio.level import (
    active_level_db,
    active_mask,
    frame_levels_db,
    gain_for,
    peak_db,
    rms_db,
)
from recurra.speech.audio.read import open_audio, read_audio
from recurra.speech.audio.resample import StreamResampler, resample, resampled_length
from recurra.speech.audio.sink import AudioSink
from recurra.speech.audio.source import AudioSource
from recurra.speech.audio.write import check_can_write, create_audio

__all__ = [
    "AudioError",
    "AudioFormat",
    "AudioSink",
    "AudioSource",
    "AudioWarning",
    "StreamResampler",
    "active_level_db",
    "active_mask",
    "check_can_write",
    "create_audio",
    "frame_levels_db",
    "gain_for",
    "open_audio",
    "output_format",
    "peak_db",
    "read_audio",
    "resample",
    "resampled_length",
    "rms_db",
]
