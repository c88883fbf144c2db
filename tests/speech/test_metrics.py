import math
import sys
import types

import numpy as np
import pytest
import torch

from recurra.core.errors import MissingExtraError
from recurra.speech import losses
from recurra.speech.metrics import (
    METRICS,
    Skipped,
    dnsmos,
    measure,
    missing_libraries,
    pesq_wb,
    si_sdr,
    stoi,
)

RATE = 16_000


def tone(frequency, seconds=1.0, rate=RATE):
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def words(seconds=4.0, rate=RATE, seed=0):
    """Noise in bursts of 0.3 s with a falling spectrum: enough like speech for the metrics."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate)
    noise = np.cumsum(rng.standard_normal(count)) + 0.5 * rng.standard_normal(count)
    noise -= np.convolve(noise, np.ones(64) / 64, mode="same")
    envelope = (np.arange(count) / rate) % 0.5 < 0.3
    spoken = noise * envelope
    return (0.1 * spoken / np.abs(spoken).max()).astype(np.float32)


class FakePesq(types.ModuleType):
    """Stands for the library: returns what `answers` holds, one after the other."""

    class PesqError(RuntimeError):
        pass

    class NoUtterancesError(PesqError):
        pass

    class BufferTooShortError(PesqError):
        pass

    def __init__(self, answers):
        super().__init__("pesq")
        self.answers, self.lengths = list(answers), []

    def pesq(self, rate, reference, degraded, mode):
        assert (rate, mode) == (16_000, "wb")
        self.lengths.append(len(reference))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def fake_pesq(monkeypatch):
    def install(*answers):
        library = FakePesq(answers)
        monkeypatch.setitem(sys.modules, "pesq", library)
        return library

    return install


def test_si_sdr_of_a_reference_plus_a_tenth_of_an_orthogonal_tone_is_20_db_at_any_gain_and_offset():
    clean = tone(400)
    for gain, offset in ((1, 0), (0.01, 0), (-3, 0), (1, 0.5)):
        value = si_sdr(clean, gain * (clean + 0.1 * tone(1200)) + offset)
        assert value == pytest.approx(20, abs=1e-6)


def test_si_sdr_agrees_with_a_small_example_by_hand():
    # zero-mean both; projection of (3,-1,-1,-1) on (1,-1,1,-1) is 1/1: wanted 4, error 12 - 4 = 8
    value = si_sdr(np.array([1.0, -1, 1, -1]), np.array([3.0, -1, -1, -1]))
    assert value == pytest.approx(10 * math.log10(4 / 8))


def test_si_sdr_agrees_with_the_one_that_training_maximises():
    rng = np.random.default_rng(1)
    clean, noise = rng.standard_normal((2, 4000))
    ours = si_sdr(reference=clean, estimate=clean + 0.4 * noise)
    pair = {"reference": clean, "estimate": clean + 0.4 * noise}
    theirs = losses.si_sdr(**{name: torch.from_numpy(x) for name, x in pair.items()}).item()
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(
    ("reference", "estimate", "reason"),
    [
        (np.zeros(8000), tone(400, 0.5), "the reference is silent"),
        (np.full(8000, 0.2), tone(400, 0.5), "the reference is silent"),
        (tone(400, 0.5), np.zeros(8000), "the estimate is silent"),
        (tone(400, 0.5), 0.5 * tone(400, 0.5), "equals the reference"),
        (np.array([1.0, -1, 0, 0]), np.array([0.0, 0, 1, -1]), "holds nothing of the reference"),
        (tone(400, 0.5), np.full(8000, np.nan), "not finite"),
        (np.zeros(0), np.zeros(0), "no samples"),
    ],
)
def test_si_sdr_without_a_meaning_is_skipped_with_the_reason(reference, estimate, reason):
    result = si_sdr(reference, estimate)
    assert isinstance(result, Skipped)
    assert reason in result.reason


def test_signals_of_different_lengths_or_of_two_axes_are_a_mistake_of_the_caller():
    for estimate in (tone(400, 0.9), np.zeros((1, RATE))):
        with pytest.raises(ValueError, match="two \\(T,\\) of one length"):
            si_sdr(tone(400), estimate)


def test_stoi_is_one_for_the_clean_signal_and_falls_with_noise():
    clean = words()
    noise = np.random.default_rng(2).standard_normal(len(clean)).astype(np.float32)
    perfect, light, heavy = (stoi(clean, clean + g * noise, RATE) for g in (0, 0.01, 0.1))
    assert perfect == pytest.approx(1, abs=1e-6)
    assert perfect > light > heavy


def test_stoi_of_a_48_khz_pair_is_that_of_the_pair_at_16_khz():
    from recurra.speech.audio.resample import resample

    clean = words()
    noisy = clean + 0.02 * np.random.default_rng(3).standard_normal(len(clean)).astype(np.float32)
    high = stoi(resample(clean, RATE, 48_000), resample(noisy, RATE, 48_000), 48_000)
    assert high == pytest.approx(stoi(clean, noisy, RATE), abs=0.002)


def test_stoi_is_skipped_where_the_library_would_return_0_or_1e_5():
    mostly_silent = np.zeros(2 * RATE)
    mostly_silent[:1600] = words(0.1)
    clean = words()
    cases = {
        "less than 0.4 s": stoi(mostly_silent, mostly_silent, RATE),
        "shorter than 0.4 s": stoi(clean[:300], clean[:300], RATE),
        "the reference is silent": stoi(np.zeros_like(clean), clean, RATE),
        "the estimate is silent": stoi(clean, np.zeros_like(clean), RATE),
    }
    for reason, result in cases.items():
        assert isinstance(result, Skipped)
        assert reason in result.reason


# librosa compiles its functions at the first call in an environment: half a minute.
@pytest.mark.slow
def test_dnsmos_equals_the_official_script_and_runs_on_one_thread():
    import speechmos.dnsmos

    audio = words(2.0)
    official = speechmos.dnsmos.run(audio, RATE)
    ours = dnsmos(audio, RATE)
    assert ours == {
        "dnsmos": pytest.approx(official["ovrl_mos"], abs=1e-4),
        "dnsmos_sig": pytest.approx(official["sig_mos"], abs=1e-4),
        "dnsmos_bak": pytest.approx(official["bak_mos"], abs=1e-4),
        "dnsmos_p808": pytest.approx(official["p808_mos"], abs=1e-4),
    }
    from recurra.speech.metrics import _dnsmos_model

    session = _dnsmos_model().onnx_sess
    assert session.get_session_options().intra_op_num_threads == 1


@pytest.mark.slow
def test_dnsmos_clips_what_is_beyond_full_scale():
    loud = 20 * words(1.0)
    assert np.abs(loud).max() > 1
    assert dnsmos(loud, RATE) == dnsmos(np.clip(loud, -1, 1), RATE)


def test_dnsmos_skips_silence_and_clips_that_are_too_short():
    assert dnsmos(np.zeros(RATE), RATE) == Skipped("the estimate is silent")
    assert dnsmos(words(0.9), RATE) == Skipped("shorter than 1 s")


def test_pesq_of_a_long_recording_is_the_mean_over_equal_pieces_of_at_most_20_s(fake_pesq):
    library = fake_pesq(3.0, FakePesq.NoUtterancesError(b"No utterances detected"), 2.0)
    clean = words(41.0)
    assert pesq_wb(clean, clean, RATE) == 2.5
    assert max(library.lengths) <= 20 * RATE
    assert sum(library.lengths) == len(clean)


def test_pesq_leaves_out_pieces_without_speech_but_not_a_silenced_piece(fake_pesq):
    half_silent = words(40.0)
    half_silent[20 * RATE :] = 0
    library = fake_pesq(3.0)
    assert pesq_wb(half_silent, half_silent, RATE) == 3.0
    assert library.answers == []
    fake_pesq(3.0)
    result = pesq_wb(words(40.0), half_silent, RATE)
    assert result == Skipped("the estimate is silent for 20.0 s on end")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (FakePesq.NoUtterancesError(b"No utterances detected"), "PESQ finds no utterance"),
        (FakePesq.BufferTooShortError(b"Buffer"), "shorter than 0.25 s"),
        (ValueError("cannot convert float NaN to integer"), "PESQ failed: cannot convert"),
    ],
)
def test_what_pesq_cannot_score_is_skipped_with_the_reason(fake_pesq, answer, reason):
    fake_pesq(answer)
    result = pesq_wb(words(1.0), words(1.0), RATE)
    assert isinstance(result, Skipped)
    assert reason in result.reason


def test_pesq_of_narrowband_audio_is_skipped_and_48_khz_is_resampled(fake_pesq):
    library = fake_pesq(3.0)
    assert isinstance(pesq_wb(words(1.0, 8000), words(1.0, 8000), 8000), Skipped)
    assert pesq_wb(words(1.0, 48_000), words(1.0, 48_000), 48_000) == 3.0
    assert library.lengths == [RATE]


def test_a_metric_whose_library_is_missing_names_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    with pytest.raises(MissingExtraError, match=r"recurra-speech\[pesq\]"):
        pesq_wb(words(1.0), words(1.0), RATE)
    missing = missing_libraries()
    assert list(missing) == ["pesq"]
    assert "recurra-speech[pesq]" in missing["pesq"]


def test_measure_gives_every_metric_asked_for_and_refuses_unknown_ones(fake_pesq):
    fake_pesq(3.0)
    clean = words(0.8)
    noisy = clean + 0.01 * np.random.default_rng(5).standard_normal(len(clean)).astype(np.float32)
    scores = measure(clean, noisy, RATE, METRICS)
    assert list(scores)[:4] == ["si_sdr", "pesq", "stoi", "dnsmos"]
    assert all(isinstance(scores[name], float) for name in ("si_sdr", "pesq", "stoi"))
    too_short = Skipped("shorter than 1 s")
    names = ("dnsmos", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808")
    assert {name: scores[name] for name in names} == dict.fromkeys(names, too_short)
    assert list(measure(clean, noisy, RATE, ["si_sdr"])) == ["si_sdr"]
    with pytest.raises(ValueError, match="'sdr'"):
        measure(clean, clean, RATE, ["sdr"])
