import av
import numpy as np
import pytest
import soundfile

from recurra.speech.data.decode import UnusableSoundError, decode
from recurra.speech.data.filtering import fast_length, filter_gain


def loudest_hertz(audio: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(audio))) * 16_000 / len(audio))


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (48_000, 1), (22_050, 1), (11_025, 2)])
def test_a_tone_keeps_its_pitch_level_and_length(tmp_path, make_tone, rate, channels):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([make_tone(1000, 1, rate)] * channels, axis=1), rate, "PCM_16")
    audio, file_rate = decode(path)
    assert file_rate == rate
    assert audio.dtype == np.float32
    assert len(audio) == 16_000
    assert loudest_hertz(audio) == 1000
    assert np.sqrt(np.mean(audio[2000:-2000] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=1e-2)


def test_dc_and_rumble_are_removed_and_the_rest_is_kept(tmp_path, make_tone):
    path = tmp_path / "a.wav"
    wanted = make_tone(200, 2, amplitude=0.2)
    soundfile.write(path, wanted + make_tone(10, 2, amplitude=0.2) + 0.3, 16_000, "PCM_16")
    audio, _ = decode(path)
    middle = slice(8000, -8000)
    assert abs(audio.mean()) < 1e-4
    np.testing.assert_allclose(audio[middle], wanted[middle], atol=2e-3)


def test_raw_files_are_16_khz_little_endian(tmp_path, make_tone):
    path = tmp_path / "a.raw"
    (make_tone(440, 1) * 32768).astype("<i2").tofile(path)
    audio, rate = decode(path)
    assert rate == 16_000
    assert loudest_hertz(audio) == 440


def test_g722_is_read(tmp_path, make_tone):
    path = tmp_path / "a.g722"
    with av.open(str(path), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=16_000)
        stream.layout = "mono"
        pcm = (make_tone(1000, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    audio, rate = decode(path)
    assert rate == 16_000
    assert loudest_hertz(audio[:16_000]) == pytest.approx(1000, abs=2)


@pytest.mark.parametrize("name", ["text.wav", "text.g722", "text.ogg", "empty.raw", "missing.wav"])
def test_what_cannot_be_read_is_named(tmp_path, name):
    path = tmp_path / name
    if "missing" not in name:
        path.write_bytes(b"" if "empty" in name or "g722" in name else b"this is no sound")
    with pytest.raises(UnusableSoundError, match=name):
        decode(path)


def test_nan_samples_are_refused(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(100, np.nan, np.float32), 16_000, "FLOAT")
    with pytest.raises(UnusableSoundError, match="not finite"):
        decode(path)


def test_a_gain_of_one_changes_nothing(make_tone):
    audio = make_tone(440, 0.3) + 0.1
    np.testing.assert_allclose(filter_gain(audio, np.ones_like), audio, atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 17, 48_000, 65_536, 65_537, 90_001])
def test_fast_lengths_are_long_enough_and_not_much_longer(length):
    size = fast_length(length)
    assert length <= size <= max(16, 1.34 * length)
    for factor in (2, 3, 5):
        while size % factor == 0:
            size //= factor
    assert size == 1
