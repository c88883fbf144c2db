"""What a file holds beside picture and sound goes along: covers, chapters, second tracks."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from recurra.speech.audio import AudioFormat, create_audio, open_audio, read_audio

TONE = np.sin(np.arange(48000, dtype=np.float32) / 20)[None] * np.float32(0.3)


def png() -> bytes:
    """A red picture of 2 by 2."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff\0\0" * 2) * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def copy(path: Path, target: Path) -> None:
    with (
        open_audio(path) as source,
        create_audio(
            target, source.format, source.sample_rate, source.channels, source.tags, original=path
        ) as sink,
    ):
        for block in source.blocks(4000):
            sink.write(block)


def encode(out, stream, audio: np.ndarray) -> None:
    frame = av.AudioFrame.from_ndarray(audio, "fltp", "mono")
    frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), 0
    for piece in [frame, None]:
        out.mux(stream.encode(piece))


def test_the_cover_of_an_m4a_stays_its_cover(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=48000, layout="mono")
        cover = out.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 2, 2, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((2, 2, 3), np.uint8), "rgb24")))
        encode(out, sound, TONE)
    with open_audio(tmp_path / "a.m4a") as source:
        assert not source.format.has_video
    copy(tmp_path / "a.m4a", tmp_path / "b.m4a")
    covers = []
    for name in ("a.m4a", "b.m4a"):
        with av.open(str(tmp_path / name)) as opened:
            (stream,) = opened.streams.video
            assert stream.disposition & av.stream.Disposition.attached_pic
            covers.append([bytes(p) for p in opened.demux(stream) if p.size])
    assert covers[0] == covers[1]
    assert len(covers[0]) == 1


def test_the_tag_of_an_mp3_is_kept_with_its_cover(tmp_path):
    picture = b"\0image/png\0\3\0" + png()
    size = bytes((len(picture) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    frame = b"APIC" + size + b"\0\0" + picture
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    tag = b"ID3\4\0\0" + size + frame
    with create_audio(tmp_path / "a.mp3", AudioFormat("MP3", "MPEG_LAYER_III"), 48000, 1) as sink:
        sink.write(TONE)
    (tmp_path / "b.mp3").write_bytes(tag + (tmp_path / "a.mp3").read_bytes())
    copy(tmp_path / "b.mp3", tmp_path / "c.mp3")
    content = (tmp_path / "c.mp3").read_bytes()
    assert content.startswith(tag)
    assert content.count(b"ID3") == 1
    assert read_audio(tmp_path / "c.mp3")[0].shape == TONE.shape


def test_a_second_track_and_the_chapters_of_a_video_are_kept(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        picture = out.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        first = out.add_stream("aac", rate=48000, layout="mono")
        second = out.add_stream("flac", rate=48000, layout="mono")
        out.set_chapters(
            [
                {"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {}},
                {
                    "id": 2,
                    "start": 500,
                    "end": 1000,
                    "time_base": Fraction(1, 1000),
                    "metadata": {},
                },
            ]
        )
        for _ in range(25):
            shade = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
            out.mux(picture.encode(shade))
        out.mux(picture.encode(None))
        encode(out, first, TONE)
        encode(out, second, TONE)
    copy(tmp_path / "a.mkv", tmp_path / "b.mkv")
    kept = []
    for name in ("a.mkv", "b.mkv"):
        with av.open(str(tmp_path / name)) as opened:
            track = next(s for s in opened.streams.audio if s.codec_context.name == "flac")
            kept.append([bytes(p) for p in opened.demux(track) if p.size])
            assert len(opened.streams) == 3
            assert [chapter["start"] for chapter in opened.chapters()] == [0, 500000000]
    assert kept[0] == kept[1]
