import sys

import numpy as np
import pytest
import soundfile

from recurra.core.errors import MissingExtraError, RecurraError
from recurra.speech.audio import AudioError
from recurra.speech.evaluate import evaluate_folders, evaluate_pair, mean_scores
from recurra.speech.matching import Unscored, match_files

RATE = 16_000
SI_SDR = ("si_sdr",)


def tone(frequency, seconds=1.0, rate=RATE):
    return 0.25 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def write(path, audio, rate=RATE, subtype="DOUBLE"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(audio).T, rate, subtype)
    return path


def estimate_at(db, frequency=400, error=1200, seconds=1.0):
    """A tone with another one so loud that SI-SDR is `db`."""
    return tone(frequency, seconds) + 10 ** (-db / 20) * tone(error, seconds)


def test_a_pair_is_scored_and_says_how_long_it_is(tmp_path):
    clean = write(tmp_path / "clean.wav", tone(400))
    result = evaluate_pair(clean, write(tmp_path / "out.wav", estimate_at(20)), SI_SDR)
    assert result.scores == {"si_sdr": pytest.approx(20, abs=1e-3)}
    assert (result.seconds, result.skipped, result.notes) == (1.0, {}, ())


def test_a_length_mismatch_is_stated_and_the_shared_part_is_compared(tmp_path):
    clean = write(tmp_path / "clean.wav", tone(400))
    longer = np.concatenate([estimate_at(20), np.ones(800)])
    result = evaluate_pair(clean, write(tmp_path / "long.wav", longer, subtype="FLOAT"), SI_SDR)
    assert result.scores["si_sdr"] == pytest.approx(20, abs=1e-3)
    assert result.notes == (
        "800 samples (0.050 s) longer than the reference: the first 1.000 s are compared",
    )
    short = evaluate_pair(clean, write(tmp_path / "short.wav", estimate_at(20)[:8000]), SI_SDR)
    assert short.seconds == 0.5
    assert "8000 samples (0.500 s) shorter" in short.notes[0]


def test_an_estimate_of_another_rate_is_compared_at_the_rate_of_the_reference(tmp_path):
    clean = write(tmp_path / "clean.wav", tone(400, rate=48_000), 48_000)
    result = evaluate_pair(clean, write(tmp_path / "out.wav", tone(400)), SI_SDR)
    assert result.scores["si_sdr"] > 40
    assert result.notes == ("resampled from 16000 to 48000 Hz, the rate of the reference",)


def test_channels_are_averaged_and_a_silent_one_skips_the_file(tmp_path):
    clean = write(tmp_path / "clean.wav", [tone(400), tone(600)])
    enhanced = [estimate_at(20), estimate_at(10, frequency=600)]
    both = evaluate_pair(clean, write(tmp_path / "out.wav", enhanced), SI_SDR)
    assert both.scores["si_sdr"] == pytest.approx(15, abs=1e-3)
    enhanced[1] = np.zeros(RATE)
    one = evaluate_pair(clean, write(tmp_path / "half.wav", enhanced), SI_SDR)
    assert one.scores == {}
    assert one.skipped == {"si_sdr": "channel 2: the estimate is silent"}


def test_a_pair_that_cannot_be_compared_is_an_error_of_one_line(tmp_path):
    clean = write(tmp_path / "clean.wav", tone(400))
    stereo = write(tmp_path / "stereo.wav", [tone(400), tone(400)])
    with pytest.raises(RecurraError, match="has 2 channels, its reference 1"):
        evaluate_pair(clean, stereo, SI_SDR)
    with pytest.raises(AudioError, match="no such file"):
        evaluate_pair(clean, tmp_path / "missing.wav", SI_SDR)
    with pytest.raises(RecurraError, match="unknown metric sdr; choose of si_sdr, pesq"):
        evaluate_pair(clean, clean, ["sdr"])


def test_a_missing_library_is_an_error_when_asked_for_and_told_otherwise(tmp_path, monkeypatch):
    for name in ("pesq", "pystoi", "speechmos.dnsmos"):
        monkeypatch.setitem(sys.modules, name, None)
    clean = write(tmp_path / "clean" / "a.wav", tone(400))
    write(tmp_path / "out" / "a.wav", estimate_at(20))
    with pytest.raises(MissingExtraError, match=r"recurra-speech\[pesq\]"):
        evaluate_folders(tmp_path / "clean", tmp_path / "out", ["pesq"])
    with pytest.raises(MissingExtraError, match=r"recurra-speech\[pesq\]"):
        evaluate_pair(clean, clean, ["pesq"])
    result = evaluate_folders(tmp_path / "clean", tmp_path / "out")
    assert list(result.means) == ["si_sdr"]
    assert list(result.missing) == ["pesq", "stoi", "dnsmos"]
    told = evaluate_pair(clean, tmp_path / "out" / "a.wav").notes
    assert [note.split(":")[0] for note in told] == ["no pesq", "no stoi", "no dnsmos"]
    assert "recurra-speech[pesq]" in told[0]


def test_folders_give_a_mean_with_its_interval_and_count_what_has_no_score(tmp_path):
    clean, out = tmp_path / "clean", tmp_path / "out"
    for name, db in (("a", 10), ("b", 20), ("sub/c", 30)):
        write(clean / f"{name}.wav", tone(400))
        write(out / f"{name}.wav", estimate_at(db))
    write(clean / "silent.wav", np.zeros(RATE))
    write(out / "silent.wav", tone(400))
    write(clean / "alone.wav", tone(400))
    write(out / "stranger.wav", tone(400))
    write(clean / "text.wav", tone(400))
    (out / "text.wav").write_text("not audio")
    (clean / "notes.txt").write_text("not looked at")
    calls = []
    result = evaluate_folders(clean, out, SI_SDR, lambda done, total: calls.append((done, total)))
    mean = result.means["si_sdr"]
    assert (mean.mean, mean.count) == (pytest.approx(20, abs=1e-3), 3)
    assert (mean.low, mean.high) == pytest.approx((10, 30), abs=1e-3)
    assert result.means == mean_scores(result.pairs)
    assert result.skipped == {"si_sdr": {"the reference is silent": 1}}
    reasons = {unscored.path: unscored.reason for unscored in result.unscored}
    assert reasons.keys() == {clean / "alone.wav", out / "stranger.wav", out / "text.wav"}
    assert "has no estimate" in reasons[clean / "alone.wav"]
    assert "has no reference" in reasons[out / "stranger.wav"]
    assert calls == [(n, 5) for n in range(1, 6)]


def test_a_damaged_file_is_scored_as_far_as_it_goes_and_noted(tmp_path):
    clean = write(tmp_path / "clean.wav", tone(400))
    whole = write(tmp_path / "out.wav", estimate_at(20), subtype="PCM_16")
    whole.write_bytes(whole.read_bytes()[: 44 + 16_000])
    result = evaluate_pair(clean, whole, SI_SDR)
    assert result.scores["si_sdr"] == pytest.approx(20, abs=0.01)
    assert any("truncated" in note for note in result.notes)
    assert any("shorter than the reference" in note for note in result.notes)


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_match_by_relative_path_mark_and_ending(tmp_path):
    clean, out = tmp_path / "clean", tmp_path / "out"
    touch(clean / "a.wav", clean / "b.wav", clean / "d/a.wav", clean / "e.wav", clean / "v1.2.wav")
    touch(out / "a.wav", out / "b.enhanced.wav", out / "d/a.enhanced.flac", out / "e.FLAC")
    touch(out / "v1.2.enhanced.wav")
    pairs, unscored = match_files(clean, out)
    found = [(r.relative_to(clean).as_posix(), e.relative_to(out).as_posix()) for r, e, _ in pairs]
    assert found == [
        ("a.wav", "a.wav"),
        ("b.wav", "b.enhanced.wav"),
        ("d/a.wav", "d/a.enhanced.flac"),
        ("e.wav", "e.FLAC"),
        ("v1.2.wav", "v1.2.enhanced.wav"),
    ]
    assert unscored == []


def test_an_enhanced_file_beside_its_noisy_input_is_the_one_that_is_scored(tmp_path):
    clean, noisy = tmp_path / "clean", tmp_path / "noisy"
    touch(clean / "a.wav", noisy / "a.wav", noisy / "a.enhanced.wav")
    pairs, unscored = match_files(clean, noisy)
    assert pairs == [
        (clean / "a.wav", noisy / "a.enhanced.wav", "scored a.enhanced.wav, not a.wav")
    ]
    assert unscored == []


def test_two_estimates_that_fit_equally_well_are_not_chosen_between(tmp_path):
    clean, out = tmp_path / "clean", tmp_path / "out"
    touch(clean / "a.wav", out / "a.flac", out / "a.ogg")
    pairs, unscored = match_files(clean, out)
    assert pairs == []
    assert unscored == [Unscored(clean / "a.wav", "more than one estimate fits: a.flac, a.ogg")]


def test_folders_that_are_none_or_the_same_are_refused(tmp_path):
    with pytest.raises(RecurraError, match="is not a folder"):
        match_files(tmp_path, tmp_path / "missing")
    with pytest.raises(RecurraError, match="as references and as estimates"):
        match_files(tmp_path, tmp_path / ".")
