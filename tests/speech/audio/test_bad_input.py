"""Files that are missing, empty, damaged, lying about their length, or not audio at all."""

import io
import os
import struct
import subprocess
import sys
import threading
import wave
from contextlib import nullcontext

import numpy as np
import pytest
import soundfile

from recurra.speech.audio import AudioError, AudioFormat, AudioWarning, open_audio
from recurra.speech.audio import read_audio as read

SAMPLES = (np.random.default_rng(0).standard_normal(1001) * 3000).astype("<i2")
LIST = b"LIST" + struct.pack("<I", 18) + b"INFOINAM" + struct.pack("<I", 6) + b"Title\0"


def wav(
    size: int, riff: int | None = None, tail: bytes = b"", samples: bytes | None = None
) -> bytes:
    """A WAV whose header claims `size` bytes of samples."""
    fmt = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    data = SAMPLES.tobytes() if samples is None else samples
    body = (
        b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", size) + data + tail
    )
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def encoded(container: str, subtype: str, frames: int = 48000) -> bytes:
    buffer = io.BytesIO()
    rough = np.random.default_rng(1).uniform(-0.3, 0.3, frames)
    soundfile.write(buffer, rough, 48000, format=container, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "riff"),
    [
        (0, 0),
        (0, None),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF - 36, 0xFFFFFFFF),
        (0x7FFFFFFF, 0x7FFFFFFF),
        (0x7FFFF000, 0x7FFFF024),
    ],
)
@pytest.mark.parametrize("piped", [False, True])
def test_a_streamed_wav_header_is_read_to_the_end(tmp_path, size, riff, piped):
    (tmp_path / "a.wav").write_bytes(wav(size, riff))
    with open_audio(tmp_path / "a.wav") if not piped else from_pipe(wav(size, riff)) as source:
        assert (source.frames, source.notes) == (1001, [])
        block = next(source.blocks(5000))
    np.testing.assert_array_equal(block[0], SAMPLES / np.float32(32768))


def from_pipe(content: bytes):
    """`content` opened through a pipe, which cannot seek."""
    read_end, write_end = os.pipe()

    def feed() -> None:
        with os.fdopen(write_end, "wb") as stream:
            stream.write(content)

    threading.Thread(target=feed).start()
    with os.fdopen(read_end, "rb") as stream:
        return open_audio(stream)


def test_an_unfilled_rf64_header_is_read_to_the_end(tmp_path):
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    for claimed in (0, 2**64 - 1):
        ds64 = struct.pack("<4sIQQQI", b"ds64", 28, claimed, claimed, claimed, 0)
        head = struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE") + ds64 + fmt
        head += struct.pack("<4sI", b"data", 0xFFFFFFFF)
        (tmp_path / "a.wav").write_bytes(head + SAMPLES.tobytes())
        audio, rate = read(tmp_path / "a.wav")
        assert (audio.shape, rate) == ((1, 1001), 16000)


def test_chunks_after_an_empty_data_chunk_are_not_taken_for_samples(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(0, tail=LIST, samples=b""))
    with pytest.raises(AudioError, match="holds no audio"):
        open_audio(tmp_path / "a.wav")


def test_a_truncated_wav_is_read_as_far_as_it_goes_with_a_warning(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(4004)[:-1])
    with pytest.warns(AudioWarning, match="truncated"):
        source = open_audio(tmp_path / "a.wav")
    with source:
        assert source.frames == 1000
        assert sum(block.shape[1] for block in source.blocks(300)) == 1000
        assert len(source.notes) == 1


@pytest.mark.parametrize(
    ("container", "subtype", "suffix"),
    [
        ("FLAC", "PCM_16", "flac"),
        ("MP3", "MPEG_LAYER_III", "mp3"),
        ("OGG", "VORBIS", "ogg"),
        ("OGG", "OPUS", "opus"),
        ("AIFF", "PCM_16", "aiff"),
    ],
)
def test_half_a_file_gives_about_half_the_audio(tmp_path, container, subtype, suffix):
    content = encoded(container, subtype, 480000)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content[: len(content) // 2])
    with pytest.warns(AudioWarning) if suffix in ("flac", "mp3") else nullcontext():
        audio, _ = read(path)
    assert 160000 < audio.shape[1] < 320000


def test_an_mp3_without_a_length_header_is_read_to_its_end(tmp_path):
    content = encoded("MP3", "MPEG_LAYER_III", 480000)
    header_frame = content.index(b"\xff\xfb", 4)
    assert b"Xing" in content[:header_frame] or b"Info" in content[:header_frame]
    (tmp_path / "a.mp3").write_bytes(content[header_frame:])
    with open_audio(tmp_path / "a.mp3") as source:
        assert source.frames is None
        assert source.format.container == "MP3"
        total = sum(block.shape[1] for block in source.blocks(4096))
    assert 480000 <= total <= 480000 + 3 * 1152


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", b"", "is empty"),
        ("a.wav", b"Dear diary, today I recorded nothing.\n" * 30, "is not audio"),
        ("a.wav", wav(2002)[:20], "is not audio that can be read, or is damaged"),
        ("a.wav", wav(2002)[:44], "holds no audio"),
        ("a.wav", wav(0, samples=b""), "holds no audio"),
        ("a.mp3", b"\0" * 5000, "is not audio"),
        ("a.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nb.wav\n", "is not audio"),
        ("a.txt", b"ffconcat version 1.0\nfile b.wav\n", "is not audio"),
    ],
)
def test_what_is_not_audio_is_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / "b.wav").write_bytes(wav(2002))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=message) as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        open_audio(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="is a folder"):
        open_audio(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_sample_that_is_no_number_is_named_by_its_time(tmp_path, value):
    audio = np.zeros((4000, 2), np.float32)
    audio[3000, 1] = audio[3500, 0] = value
    soundfile.write(tmp_path / "a.wav", audio, 2000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"sample 3000 \(1.500 s, channel 2\) is -?(nan|inf)"):
        read(tmp_path / "a.wav")


def test_a_wav_from_the_standard_library_reads_as_it_was_written(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(SAMPLES.tobytes())
    np.testing.assert_array_equal(read(tmp_path / "a.wav")[0][0], SAMPLES / np.float32(32768))


def test_long_files_are_read_and_written_in_flat_memory(tmp_path):
    script = (
        "import sys\n"
        "from recurra.core.memory import peak_memory\n"
        "from recurra.speech.audio import *\n"
        "import numpy as np\n"
        "block = np.random.default_rng(0).uniform(-.5, .5, (2, 48000)).astype('f4')\n"
        "with create_audio(sys.argv[1], AudioFormat('FLAC', 'PCM_16'), 48000, 2) as sink:\n"
        "    for _ in range(int(sys.argv[2])): sink.write(block)\n"
        "with open_audio(sys.argv[1]) as source:\n"
        "    frames = sum(b.shape[1] for b in source.blocks(48000))\n"
        "print(frames, peak_memory())\n"
    )
    peak = {}
    for seconds in (10, 90):
        path = str(tmp_path / f"{seconds}.flac")
        command = [sys.executable, "-c", script, path, str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        frames, peak[seconds] = map(float, done.stdout.split())
        assert frames == 48000 * seconds
    assert peak[90] - peak[10] < 10  # MiB; the longer audio alone would be 30 more


def test_a_stream_of_bytes_is_read_like_a_file():
    with open_audio(io.BytesIO(encoded("FLAC", "PCM_16", 999))) as source:
        assert (source.frames, source.format) == (999, AudioFormat("FLAC", "PCM_16"))
