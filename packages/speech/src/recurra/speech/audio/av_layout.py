"""Which speaker layout FFmpeg's encoders are given: one in which no channel loses its sound."""

from fractions import Fraction
from functools import cache

import av
import av.error

from recurra.speech.audio.format import AudioError

# None has a channel for low frequencies (LFE), of which encoders drop all but the lowest octaves.
_LAYOUTS = {
    1: ("mono",),
    2: ("stereo",),
    3: ("3.0",),
    4: ("4.0", "quad"),
    5: ("5.0",),
    6: ("6.0",),
    7: ("7.0",),
    8: ("octagonal",),
}
_LFE_LAYOUTS = {3: ("2.1",), 6: ("5.1",), 7: ("6.1(back)", "6.1"), 8: ("7.1(wide)", "7.1")}
# FFmpeg hands libopus the channels of these in another order than it reads them back.
_CONFUSED_BY_LIBOPUS = {"5.0", "6.1"}


@cache
def choose_layout(encoder: str, stated: str | None, sample_rate: int, channels: int) -> str:
    """Choose the layout that the source states if the encoder takes it, else one without an LFE.

    A lossless encoder drops nothing, so any layout does for it.

    Raises:
        AudioError: the encoder takes so many channels only with an LFE.
        ValueError: it does not take so many at all.
    """
    counted = f"{channels}C"
    candidates = [*_LAYOUTS.get(channels, ()), counted]
    if encoder == "libopus" and channels > 4:
        candidates = [counted]
    if stated is not None and _count(stated) == channels:
        candidates.insert(0, stated)
    with_lfe = _LFE_LAYOUTS.get(channels, ())
    if av.Codec(encoder, "w").lossless:
        candidates += with_lfe
    for layout in candidates:
        if _takes(encoder, layout, sample_rate):
            return layout
    if any(_takes(encoder, layout, sample_rate) for layout in with_lfe):
        raise AudioError(
            f"{encoder} takes {channels} channels only with one for low frequencies alone (LFE); "
            "write .wav or .flac, or fewer channels a file"
        )
    raise ValueError(f"{encoder} does not take {channels} channels")


def options_for(encoder: str, layout: str) -> dict[str, str]:
    """Return what else the encoder has to be told.

    Opus has layouts for up to eight channels; counted channels go into it side by side, as RFC 7845
    calls channel mapping family 255.
    """
    counted = av.AudioLayout(layout).channels[0].name == "NONE"
    return {"mapping_family": "255"} if encoder == "libopus" and counted else {}


def _count(layout: str) -> int:
    try:
        return av.AudioLayout(layout).nb_channels
    except ValueError:  # the mask of a WAV header can be anything
        return 0


def _takes(encoder: str, layout: str, sample_rate: int) -> bool:
    """Tell whether an encoder opens with a layout, and keeps the channels in their order."""
    context = av.CodecContext.create(encoder, "w")
    formats = av.Codec(encoder, "w").audio_formats
    try:
        context.layout, context.sample_rate = layout, sample_rate
        context.time_base = Fraction(1, sample_rate)
        context.format = formats[0] if formats else "fltp"
        context.options = options_for(encoder, layout)
        context.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return not (encoder == "libopus" and av.AudioLayout(layout).name in _CONFUSED_BY_LIBOPUS)
