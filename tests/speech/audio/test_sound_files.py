"""Files that libsndfile reads and writes: what is read is written back, at every odd length."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.speech.audio import (
    AudioError,
    AudioFormat,
    AudioWarning,
    check_can_write,
    create_audio,
    open_audio,
    read_audio,
)

LOSSLESS = [
    (".wav", "WAV", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]),
    (".wav", "WAVEX", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"]),
    (".wav", "RF64", ["PCM_16", "PCM_24", "FLOAT"]),
    (".w64", "W64", ["PCM_16", "FLOAT"]),
    (".flac", "FLAC", ["PCM_S8", "PCM_16", "PCM_24"]),
    (".aiff", "AIFF", ["PCM_S8", "PCM_16", "PCM_24", "FLOAT", "ULAW"]),
    (".caf", "CAF", ["PCM_16", "FLOAT", "ALAC_16"]),
    (".au", "AU", ["PCM_16", "FLOAT", "ULAW"]),
]
LOSSLESS_CASES = [(e, AudioFormat(c, s)) for e, c, subtypes in LOSSLESS for s in subtypes]
LOSSY_CASES = [
    (".ogg", AudioFormat("OGG", "VORBIS")),
    (".opus", AudioFormat("OGG", "OPUS")),
    (".mp3", AudioFormat("MP3", "MPEG_LAYER_III")),
]
FRAMES = st.one_of(st.integers(1, 9), st.integers(1, 6000))


def noise(channels: int, frames: int, peak: float = 1.0) -> np.ndarray:
    return np.random.default_rng(frames).uniform(-peak, peak, (channels, frames)).astype(np.float32)


def write(path: Path, audio: np.ndarray, like: AudioFormat, rate: int = 16000, **more) -> None:
    with create_audio(path, like, rate, audio.shape[0], **more) as sink:
        for at in range(0, audio.shape[1], 1000):
            sink.write(audio[:, at : at + 1000])


@given(st.sampled_from(LOSSLESS_CASES), FRAMES, st.integers(1, 3), st.integers(1, 2000))
@settings(deadline=None, max_examples=60)
def test_lossless_formats_give_back_what_they_were_given(case, frames, channels, block):
    suffix, like = case
    audio = noise(channels, frames)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a" + suffix), Path(folder, "b" + suffix)
        write(first, audio, like)
        with open_audio(first) as source:
            assert (source.sample_rate, source.channels, source.frames) == (16000, channels, frames)
            assert (source.format.container, source.format.subtype) == (
                like.container,
                like.subtype,
            )
            once = np.concatenate(list(source.blocks(block)), axis=1)
            write(second, once, source.format)
        twice, _ = read_audio(second)
    bits = {"PCM_S8": 8, "PCM_U8": 8, "PCM_24": 24, "PCM_32": 24}.get(like.subtype, 16)
    coarse = {"ULAW": 2**-5, "ALAW": 2**-5, "FLOAT": 0.0, "DOUBLE": 0.0}
    step = coarse.get(like.subtype, 2.0 ** -(bits - 1))
    assert once.shape == audio.shape
    assert np.abs(once - audio).max() <= step
    np.testing.assert_array_equal(twice, once)


@given(st.sampled_from(LOSSY_CASES), FRAMES, st.integers(1, 2), st.sampled_from([8000, 48000]))
@settings(deadline=None, max_examples=30)
def test_lossy_formats_keep_length_rate_and_channels(case, frames, channels, rate):
    suffix, like = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a" + suffix)
        write(path, noise(channels, frames, 0.3), like, rate)
        with open_audio(path) as source:
            assert (source.frames, source.sample_rate) == (frames, rate)
            assert source.format.subtype == like.subtype
            blocks = list(source.blocks(777))
    assert sum(block.shape[1] for block in blocks) == frames
    assert all(block.shape[0] == channels and block.dtype == np.float32 for block in blocks)


@pytest.mark.parametrize(("suffix", "like"), LOSSY_CASES)
def test_lossy_formats_are_not_shifted_in_time(tmp_path, suffix, like):
    smooth = np.convolve(noise(1, 48015, 0.5)[0], np.hanning(16) / 8, "valid")[None]
    write(tmp_path / f"a{suffix}", smooth, like, 48000)
    audio, _ = read_audio(tmp_path / f"a{suffix}")
    spectrum = np.fft.rfft(smooth[0], 1 << 17) * np.conj(np.fft.rfft(audio[0], 1 << 17))
    assert int(np.argmax(np.fft.irfft(spectrum))) == 0


@pytest.mark.parametrize(("suffix", "like"), LOSSY_CASES)
def test_the_bit_rate_of_a_lossy_file_is_about_kept(tmp_path, suffix, like):
    rough = noise(1, 96000, 0.3)
    for asked in (32000, 96000):
        path = tmp_path / f"{asked}{suffix}"
        write(path, rough, AudioFormat(like.container, like.subtype, bitrate=asked), 48000)
        with open_audio(path) as source:
            again = tmp_path / f"{asked}-again{suffix}"
            write(again, rough, source.format, 48000)
            kept = again.stat().st_size / path.stat().st_size
        assert 0.6 < kept < 1.6


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "ULAW"])
def test_too_loud_is_clipped_and_counted_and_never_wraps(tmp_path, subtype):
    loud = np.array([[0.5, 1.0, 1.2, -1.0, -1.5, 300.0]], np.float32)
    with (
        pytest.warns(AudioWarning, match="3 samples were beyond full scale"),
        create_audio(tmp_path / "a.wav", AudioFormat("WAV", subtype), 8000, 1) as sink,
    ):
        sink.write(loud)
    assert sink.clipped == 3
    audio, _ = read_audio(tmp_path / "a.wav")
    assert np.sign(audio[0]).tolist() == [1, 1, 1, -1, -1, 1]
    assert np.abs(audio[0, 1:]).min() > 0.97


def test_float_files_keep_what_is_beyond_full_scale(tmp_path):
    loud = np.array([[0.5, 1.5, -2.0]], np.float32)
    write(tmp_path / "a.wav", loud, AudioFormat("WAV", "FLOAT"))
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], loud)


def test_writing_rounds_to_the_nearest_step(tmp_path):
    audio = (np.array([[0.4, 0.6, -0.4, -0.6, 100.4]]) / 32768).astype(np.float32)
    write(tmp_path / "a.wav", audio, AudioFormat("WAV", "PCM_16"))
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert samples.tolist() == [0, 1, 0, -1, 100]


def test_speaker_positions_of_an_extensible_header_are_kept(tmp_path):
    like = AudioFormat("WAVEX", "PCM_16", channel_mask=0x33)
    write(tmp_path / "a.wav", noise(4, 100), like)
    assert open_audio(tmp_path / "a.wav").format == like


@pytest.mark.parametrize("suffix", [".wav", ".aiff"])
def test_byte_order_is_kept(tmp_path, suffix):
    container = {".wav": "WAV", ".aiff": "AIFF"}[suffix]
    endian = {".wav": "BIG", ".aiff": "LITTLE"}[suffix]
    write(tmp_path / f"a{suffix}", noise(1, 99), AudioFormat(container, "PCM_16", endian))
    with open_audio(tmp_path / f"a{suffix}") as source:
        assert source.format.endian == endian


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff"])
def test_tags_are_kept(tmp_path, suffix):
    kinds = {".ogg": ("OGG", "VORBIS"), ".opus": ("OGG", "OPUS"), ".mp3": ("MP3", "MPEG_LAYER_III")}
    container, subtype = kinds.get(suffix, (suffix[1:].upper(), "PCM_16"))
    tags = {
        "title": "Évening — новости",
        "artist": "A. Speaker",
        "comment": "take 2",
        "no such": "x",
    }
    write(tmp_path / f"a{suffix}", noise(1, 999), AudioFormat(container, subtype), tags=tags)
    with open_audio(tmp_path / f"a{suffix}") as source:
        del tags["no such"]
        assert {key: source.tags[key] for key in tags} == tags


@pytest.mark.parametrize(
    ("name", "rate", "channels", "message"),
    [
        ("a.opus", 44100, 1, "Opus has no 44100 Hz, only 8000"),
        ("a.mp3", 96000, 1, "MP3 has no 96000 Hz"),
        ("a.mp3", 48000, 3, "MP3 holds at most 2 channels, not 3"),
        ("a.flac", 48000, 9, "FLAC holds at most 8 channels"),
        ("a.flac", 700000, 1, "flac does not support"),
        ("a.opus", 48000, 300, "at most 255 channels"),
        ("missing/a.wav", 48000, 1, "does not exist"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_any_work(
    tmp_path, name, rate, channels, message
):
    with pytest.raises(AudioError, match=message):
        check_can_write(tmp_path / name, AudioFormat("WAV", "PCM_16"), rate, channels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "like", "container", "subtype"),
    [
        ("a.flac", AudioFormat("WAV", "PCM_24"), "FLAC", "PCM_24"),
        ("a.flac", AudioFormat("WAV", "FLOAT"), "FLAC", "PCM_24"),
        ("a.wav", AudioFormat("MP3", "MPEG_LAYER_III"), "WAV", "PCM_16"),
        ("a.wav", AudioFormat("mp4", "fltp", codec="aac", has_video=True), "WAV", "PCM_16"),
        ("a.wav", AudioFormat("WAVEX", "PCM_24"), "WAVEX", "PCM_24"),
        ("a.dat", AudioFormat("WAV", "PCM_24"), "WAV", "PCM_24"),
        ("a.opus", AudioFormat("OGG", "VORBIS"), "OGG", "OPUS"),
        ("a.ogg", AudioFormat("OGG", "OPUS"), "OGG", "OPUS"),
    ],
)
def test_the_file_name_chooses_the_container(tmp_path, name, like, container, subtype):
    chosen = check_can_write(tmp_path / name, like, 48000, 1)
    assert (chosen.container, chosen.subtype, chosen.has_video) == (container, subtype, False)
