"""Copy what a video holds beside the sound into a new file: picture, subtitles, chapters, cover."""

from collections.abc import Iterator
from pathlib import Path

import av
import av.error

_COPIED = {"video", "subtitle", "audio"}
_COVER = av.stream.Disposition.attached_pic


class CopiedStreams:
    """The streams of `original` but its main audio track, copied packet by packet, unchanged.

    Packets are muxed as the new sound comes to their time, so that neither side has to be kept in
    memory. Subtitles and further sound that the new container cannot hold are in `left_out`, a
    picture that it cannot hold is in `refused`.

    Args:
        original: the file that the sound came from.
        target: the container that is being written; its header is not written yet.
        with_video: copy everything; otherwise only covers (one-picture video streams).
    """

    def __init__(
        self, original: Path, target: av.container.OutputContainer, with_video: bool
    ) -> None:
        self._source = av.open(str(original))
        self._target = target
        self._audio = self._source.streams.best("audio")
        self._pairs: dict[int, av.stream.Stream] = {}
        self.refused: list[str] = []  # codecs of moving pictures
        self.left_out: list[str] = []  # subtitles and further sound, by type and codec
        for stream in self._source.streams:
            if stream.index == getattr(self._audio, "index", None):
                continue
            cover = bool(stream.disposition & _COVER)
            if stream.type not in _COPIED or not (with_video or cover):
                continue
            self._add(stream)
        self._packets = self._wanted_packets()
        self._next = next(self._packets, None)

    def _add(self, stream: av.stream.Stream) -> None:
        try:
            copy = self._target.add_stream_from_template(stream)
        except (ValueError, av.error.FFmpegError):
            codec = stream.codec_context.codec.canonical_name
            if stream.type != "video":
                self.left_out.append(f"{stream.type} ({codec})")
            elif not stream.disposition & _COVER:
                self.refused.append(codec)
            return
        copy.disposition = stream.disposition
        copy.metadata.update(stream.metadata)
        if stream.time_base is not None:
            copy.time_base = stream.time_base
        self._pairs[stream.index] = copy

    def copy_metadata(self, audio: av.AudioStream) -> None:
        """Give the new file the chapters, and its audio track the language, of the original."""
        self._target.set_chapters(self._source.chapters())
        if self._audio is not None and "language" in self._audio.metadata:
            audio.metadata["language"] = self._audio.metadata["language"]

    def mux_until(self, seconds: float | None) -> None:
        """Mux every packet whose time is at most `seconds`; all the rest with None."""
        while self._next is not None:
            time = self._next.dts if self._next.dts is not None else self._next.pts
            if seconds is not None and time is not None and time * self._next.time_base > seconds:
                return
            self._next.stream = self._pairs[self._next.stream_index]
            self._target.mux(self._next)
            self._next = next(self._packets, None)

    def _wanted_packets(self) -> Iterator[av.Packet]:
        if not self._pairs:
            return
        wanted = [stream for stream in self._source.streams if stream.index in self._pairs]
        for packet in self._source.demux(wanted):
            if packet.size:  # the empty ones at the end flush decoders
                yield packet

    def close(self) -> None:
        """Release the original; safe to call twice."""
        self._source.close()
