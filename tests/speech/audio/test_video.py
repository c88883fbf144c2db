"""m4a and videos: aligned at the start, exact in length, and the picture untouched."""

import io
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.speech.audio import (
    AudioError,
    AudioFormat,
    AudioWarning,
    create_audio,
    open_audio,
    read_audio,
)

AAC = AudioFormat("ipod", "fltp", codec="aac", bitrate=96000)


def smooth_noise(channels: int, frames: int) -> np.ndarray:
    rough = np.random.default_rng(frames).standard_normal((channels, frames + 15))
    smooth = [np.convolve(row, np.hanning(16) / 8, "valid") for row in rough]
    return np.array(smooth, np.float32) * np.float32(0.1)


def lag(late: np.ndarray, early: np.ndarray) -> int:
    """By how many samples `late` comes after `early`, from the peak of their correlation."""
    size = 1 << 19
    product = np.fft.rfft(late, size) * np.conj(np.fft.rfft(early, size))
    at = int(np.argmax(np.fft.irfft(product)))
    return at if at < size // 2 else at - size


def make_video(
    path: Path,
    audio: np.ndarray,
    rate: int,
    start: float = 0.0,
    codec: str = "aac",
    second: str | None = None,
):
    """50 small frames at 25 a second, the audio from `start` seconds on; silence as a second."""
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream(codec, rate=rate, layout={1: "mono", 2: "stereo"}[len(audio)])
        sound.metadata["language"] = "fra"
        out.metadata["title"] = "A talk"
        other = out.add_stream(second, rate=rate, layout="mono") if second else None
        frame = av.AudioFrame.from_ndarray(audio, "fltp", sound.layout.name)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(start * rate)
        for i in range(50):
            shade = np.full((48, 64, 3), 5 * i, np.uint8)
            out.mux(picture.encode(av.VideoFrame.from_ndarray(shade, "rgb24")))
        out.mux(picture.encode(None))
        resampler = av.AudioResampler(sound.codec_context.format, sound.layout, rate, 1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(sound.encode(piece))
        out.mux(sound.encode(None))
        if other:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.float32), "fltp", "mono")
            silence.sample_rate, silence.time_base, silence.pts = rate, Fraction(1, rate), 0
            fitted = av.AudioResampler(other.codec_context.format, "mono", rate, 1024)
            for piece in [*fitted.resample(silence), *fitted.resample(None)]:
                out.mux(other.encode(piece))
            out.mux(other.encode(None))


def pictures(path: Path) -> list[tuple[bytes, Fraction]]:
    with av.open(str(path)) as opened:
        stream = opened.streams.video[0]
        return [(bytes(p), p.pts * p.time_base) for p in opened.demux(stream) if p.size]


def copy(source_path: Path, target: Path, gain: float = 1.0) -> AudioFormat:
    with (
        open_audio(source_path) as source,
        create_audio(
            target,
            source.format,
            source.sample_rate,
            source.channels,
            source.tags,
            original=source_path,
            start=source.start,
        ) as sink,
    ):
        for block in source.blocks(5000):
            sink.write(block * np.float32(gain))
    return sink.format


@given(st.one_of(st.integers(1, 9), st.integers(1, 9000)), st.integers(1, 2), st.integers(1, 3000))
@settings(deadline=None, max_examples=25)
def test_m4a_keeps_length_and_start(frames, channels, block):
    audio = smooth_noise(channels, frames)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.m4a")
        with create_audio(path, AAC, 44100, channels, {"title": "T"}) as sink:
            for at in range(0, frames, block):
                sink.write(audio[:, at : at + block])
        with open_audio(path) as source:
            assert (source.frames, source.sample_rate, source.tags) == (
                frames,
                44100,
                {"title": "T"},
            )
            assert (source.format.container, source.format.codec) == ("ipod", "aac")
            blocks = list(source.blocks(block))
    back = np.concatenate(blocks, axis=1)
    assert back.shape == (channels, frames)
    assert all(piece.shape[1] == block for piece in blocks[:-1])
    if frames > 2000:
        assert lag(back[0], audio[0]) == 0


def test_lossless_m4a_is_lossless(tmp_path):
    audio = np.round(smooth_noise(2, 5001) * 2**15).astype(np.float32) / np.float32(2**15)
    alac = AudioFormat("ipod", "s16p", codec="alac")
    with create_audio(tmp_path / "a.m4a", alac, 44100, 2) as sink:
        sink.write(audio)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.m4a")[0], audio)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts"])
@pytest.mark.parametrize("start", [0.0, 0.4])
def test_a_video_keeps_its_picture_and_its_sound_stays_in_time(tmp_path, suffix, start):
    if suffix == ".avi" and start:
        return  # AVI has no field for it
    audio = smooth_noise(2, 60001)
    codec = "libmp3lame" if suffix == ".avi" else "aac"
    original = tmp_path / f"a{suffix}"
    make_video(original, audio, 48000, start, codec)
    target = tmp_path / f"b{original.suffix}"
    written = copy(original, target, 0.5)
    assert written.has_video
    before, after = pictures(original), pictures(target)
    assert [data for data, _ in after] == [data for data, _ in before]
    with open_audio(original) as one, open_audio(target) as two:
        assert one.format.codec == two.format.codec
        first = np.concatenate(list(one.blocks(4000)), axis=1)
        second = np.concatenate(list(two.blocks(4000)), axis=1)
    late = lag(second[0], first[0]) / 48000
    seconds = (two.start - float(after[0][1])) - (one.start - float(before[0][1]))
    assert abs(late + seconds) < 0.0015
    assert abs(second.shape[1] - first.shape[1]) <= 1152
    assert np.std(second) == pytest.approx(0.5 * np.std(first), rel=0.1)


def test_the_picture_keeps_its_times_and_the_file_its_title_and_language(tmp_path):
    make_video(tmp_path / "a.mp4", smooth_noise(1, 90000), 48000)
    copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert pictures(tmp_path / "b.mp4") == pictures(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "b.mp4")) as opened:
        assert opened.metadata["title"] == "A talk"
        assert opened.streams.audio[0].metadata["language"] == "fra"
        assert opened.streams.audio[0].codec_context.codec.canonical_name == "aac"


def test_a_video_can_be_written_as_audio_alone(tmp_path):
    audio = smooth_noise(1, 40000)
    make_video(tmp_path / "a.mp4", audio, 48000)
    for name in ("b.wav", "b.m4a"):
        written = copy(tmp_path / "a.mp4", tmp_path / name)
        assert not written.has_video
        back, _ = read_audio(tmp_path / name)
        assert lag(back[0], audio[0]) == 0
        with open_audio(tmp_path / name) as source:
            assert not source.format.has_video


def test_a_video_from_a_pipe_is_not_written_without_its_picture(tmp_path):
    film = AudioFormat("mp4", "fltp", codec="aac", has_video=True)
    with pytest.raises(AudioError, match="through a pipe"):
        create_audio(tmp_path / "a.mp4", film, 48000, 1)
    with pytest.raises(AudioError, match="standard output: the picture"):
        create_audio(io.BytesIO(), film, 48000, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_the_container_cannot_hold_is_refused_before_any_work(tmp_path):
    make_video(tmp_path / "a.mp4", smooth_noise(1, 48000), 48000)
    with pytest.raises(AudioError, match=r"webm cannot hold the picture \(mpeg4\); write .mkv"):
        copy(tmp_path / "a.mp4", tmp_path / "b.webm")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_further_sound_that_the_container_cannot_hold_is_left_out_and_told(tmp_path):
    make_video(tmp_path / "a.mkv", smooth_noise(2, 48000), 48000, second="wavpack")
    with pytest.warns(AudioWarning, match=r"cannot hold audio \(wavpack\): left out; write .mkv"):
        copy(tmp_path / "a.mkv", tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as opened:
        assert [stream.type for stream in opened.streams] == ["video", "audio"]


def test_a_silent_film_has_no_audio(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        picture = out.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        shade = np.zeros((48, 64, 3), np.uint8)
        out.mux(picture.encode(av.VideoFrame.from_ndarray(shade, "rgb24")))
        out.mux(picture.encode(None))
    with pytest.raises(AudioError, match="has no audio track"):
        open_audio(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("container", "codec", "rate", "channels", "message"),
    [
        ("ipod", "aac", 12345, 1, "aac has no 12345 Hz, only 7350, 8000"),
        ("ac3", "ac3", 16000, 1, "ac3 has no 16000 Hz"),
        ("g722", "adpcm_g722", 48000, 1, "no 48000 Hz, only 16000"),
        ("ape", "ape", 44100, 1, "no encoder for ape"),
        ("webm", "libopus", 44100, 1, "libopus has no 44100 Hz"),
        ("matroska", "vorbis", 44100, 1, "cannot be written"),
    ],
)
def test_what_a_codec_cannot_hold_is_refused_before_any_work(
    tmp_path, container, codec, rate, channels, message
):
    suffix = {"ipod": ".m4a", "matroska": ".mkv"}.get(container, f".{container}")
    with pytest.raises(AudioError, match=message):
        create_audio(
            tmp_path / f"a{suffix}", AudioFormat(container, "", codec=codec), rate, channels
        )
    assert list(tmp_path.iterdir()) == []


def test_a_gap_in_the_sound_is_silence(tmp_path):
    audio = smooth_noise(1, 48000)
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        sound = out.add_stream("pcm_s16le", rate=48000, layout="mono")
        for second in (0, 2):
            frame = av.AudioFrame.from_ndarray((audio * 32768).astype(np.int16), "s16", "mono")
            frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
            frame.pts = second * 48000
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    back, _ = read_audio(tmp_path / "a.mkv")
    assert back.shape == (1, 3 * 48000)
    assert not back[0, 48000:96000].any()
    np.testing.assert_array_equal(back[0, :48000], back[0, 96000:])
