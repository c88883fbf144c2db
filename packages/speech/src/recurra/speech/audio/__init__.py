"""Reading, writing and resampling audio: float32 numpy (C, T), full scale at 1."""

from recurra.speech.audio.format import AudioError, AudioFormat, AudioWarning, output_format
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
    "check_can_write",
    "create_audio",
    "open_audio",
    "output_format",
    "read_audio",
    "resample",
    "resampled_length",
]
