"""Up to eight channels: each comes back at its place and level, or nothing is written."""

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from recurra.speech.audio import AudioError, AudioFormat, create_audio, open_audio, read_audio
from recurra.speech.audio.format import MUXERS
from recurra.speech.audio.riff import set_channel_mask

RATE = 48000
PCM = AudioFormat("WAV", "PCM_16")
LOSSY = (".ogg", ".opus", ".mp3", ".m4a", ".webm", ".ac3", ".wma", ".flv")
OTHERS = sorted(MUXERS.keys() - {*LOSSY, ".g722"})  # the same codecs in other containers
# What each can hold without a channel for low frequencies.
MOST = {".ogg": 5, ".opus": 5, ".ac3": 5} | dict.fromkeys(
    (".mp3", ".avi", ".mpg", ".mpeg", ".wma", ".wmv", ".flv"), 2
)


def hertz(channel: int) -> int:
    return 700 + 250 * channel


def tones(channels: int) -> np.ndarray:
    t = np.arange(RATE // 5) / RATE
    return np.stack([0.1 * np.sin(2 * np.pi * hertz(c) * t) for c in range(channels)]).astype("f4")


def levels(audio: np.ndarray, channels: int) -> np.ndarray:
    """The level of each tone in each channel, in dB to what went in."""
    t = np.arange(audio.shape[1]) / RATE
    window = np.hanning(len(t)) / np.hanning(len(t)).sum()
    probes = [np.exp(-2j * np.pi * hertz(c) * t) * window for c in range(channels)]
    return 20 * np.log10(np.abs(audio @ np.stack(probes, axis=1)) * 2 / 0.1 + 1e-9)


def assert_in_place(path, channels: int) -> None:
    audio, rate = read_audio(path)
    assert (rate, len(audio)) == (RATE, channels)
    found = levels(audio, channels)
    assert np.abs(found.diagonal()).max() < 3
    assert found[~np.eye(channels, dtype=bool)].max(initial=-99) < -30


@pytest.mark.parametrize(
    "suffix", [*LOSSY, *(pytest.param(suffix, marks=pytest.mark.slow) for suffix in OTHERS)]
)
def test_every_channel_comes_back_or_the_number_is_refused_before_any_work(tmp_path, suffix):
    for channels in range(1, 9):
        path = tmp_path / f"{channels}{suffix}"
        if channels > MOST.get(suffix, 8):
            with pytest.raises(AudioError, match=r"; write \.(wav|flac)"):
                create_audio(path, PCM, RATE, channels)
            assert not path.exists()
            continue
        with create_audio(path, PCM, RATE, channels) as sink:
            sink.write(tones(channels))
        assert_in_place(path, channels)


@pytest.mark.parametrize(("suffix", "channels"), [(".m4a", 6), (".m4a", 8), (".webm", 5)])
def test_such_a_file_is_written_again_with_all_channels(tmp_path, suffix, channels):
    first, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    with create_audio(first, PCM, RATE, channels) as sink:
        sink.write(tones(channels))
    with open_audio(first) as source, create_audio(again, source.format, RATE, channels) as sink:
        for block in source.blocks(RATE):
            sink.write(block)
    assert_in_place(again, channels)


@pytest.mark.parametrize("suffix", [".m4a", ".ac3"])
def test_a_layout_that_the_input_states_is_kept(tmp_path, suffix):
    surround, target = tmp_path / "a.wav", tmp_path / f"b{suffix}"
    soundfile.write(surround, tones(6).T, RATE, format="WAVEX")
    set_channel_mask(str(surround), 0x3F)
    with open_audio(surround) as source, create_audio(target, source.format, RATE, 6) as sink:
        for block in source.blocks(RATE):
            sink.write(block)
    with av.open(str(target)) as made:
        names = [channel.name for channel in made.streams.audio[0].layout.channels]
    assert names[3] == "LFE"


def test_surround_sound_of_ogg_stays_what_it_is(tmp_path):
    surround, target = tmp_path / "a.opus", tmp_path / "b.opus"
    soundfile.write(surround, tones(6).T, RATE, format="OGG", subtype="OPUS")
    with open_audio(surround) as source, create_audio(target, source.format, RATE, 6) as sink:
        sink.write(tones(6))
    found = levels(read_audio(target)[0], 6).diagonal()
    assert np.abs(found[:5]).max() < 3
    assert found[5] < -40  # low frequencies alone, in both


def test_opus_of_five_speakers_from_elsewhere_keeps_their_order(tmp_path):
    made, again = tmp_path / "a.webm", tmp_path / "b.webm"
    with av.open(str(made), "w") as out:
        stream = out.add_stream("libopus", rate=RATE, layout="5.0")
        frame = av.AudioFrame.from_ndarray(tones(5).T.reshape(1, -1).copy(), "flt", "5.0")
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    with open_audio(made) as source, create_audio(again, source.format, RATE, 5) as sink:
        assert source.format.layout == "5.0"
        sink.write(tones(5))
    assert_in_place(again, 5)
