import hashlib
import pickle

import numpy as np
import pytest

from recurra.core.errors import RecurraError
from recurra.speech.data.corpora import Corpus, build_corpus
from recurra.speech.data.fetch import fetch
from recurra.speech.data.manifest import Manifest, Package
from recurra.speech.data.splits import SplitError, check_apart, noises, totals, voices


def test_clips_are_trimmed_and_labelled(corpus):
    clips = corpus.select("train", "speech")
    assert {(c.label, c.package) for c in clips} == {("ann", "say"), ("bob", "say")}
    first = clips[0]
    assert first.path == "usr/share/say/ann/0.wav"
    # 30 ms of margin on both sides, and the frames in which the high-pass rings.
    assert 0.66 <= first.seconds <= 0.69
    assert first.level_db == pytest.approx(-26, abs=0.1)


def test_a_clip_reads_its_own_samples(corpus):
    for clip in corpus.select("test", "speech"):
        audio = corpus.read(clip)
        assert audio.dtype == np.float32
        assert len(audio) == clip.length
        loudest = np.argmax(np.abs(np.fft.rfft(audio))) * 16_000 / len(audio)
        assert loudest == pytest.approx({"cyd": 700, "dan": 900}[clip.label], abs=3)


def test_a_part_of_a_clip_can_be_read(corpus):
    clip = corpus.select("train", "noise")[0]
    whole = corpus.read(clip)
    np.testing.assert_array_equal(corpus.read(clip, 100, 50), whole[100:150])
    np.testing.assert_array_equal(corpus.read(clip, clip.length - 5, 50), whole[-5:])


def test_a_corpus_travels_to_workers_without_its_samples(corpus):
    clip = corpus.select("train", "noise")[0]
    before = corpus.read(clip)
    packed = pickle.dumps(corpus)
    assert len(packed) < 20_000
    np.testing.assert_array_equal(pickle.loads(packed).read(clip), before)


def test_building_again_does_nothing_until_a_split_changes(corpus_folder, small_world):
    manifest = small_world[1]
    built = list(build_corpus(corpus_folder, manifest=manifest))
    assert [(b.package, b.clips, b.already_there) for b in built] == [
        ("say", 12, True),
        ("din", 3, True),
        ("row", 3, True),
    ]


def unusual_package(small_world, tmp_path, make_deb, files) -> Manifest:
    """The manifest with one more speech package, fetched to tmp_path."""
    content = make_deb(files)
    (tmp_path / "odd.deb").write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    rules = (("*skip*", None), ("*", "ann"))
    package = Package(
        "odd", "1", "odd.deb", "odd.deb", len(content), sha, "x", "x", "speech", ("train",), rules
    )
    manifest = Manifest(small_world[1].voices, {"odd": package})
    assert len(list(fetch(tmp_path, debs=tmp_path, manifest=manifest))) == 1
    return manifest


def test_what_is_left_out_is_counted_by_reason(
    small_world, tmp_path, make_deb, make_wav, make_tone
):
    good = make_wav(make_tone(440, 0.5))
    files = {
        "./a.wav": good,
        "./copy.wav": good,
        "./skip.wav": make_wav(make_tone(440, 0.7)),
        "./telephone.wav": make_wav(make_tone(440, 0.5, 8000), 8000),
        "./click.wav": make_wav(make_tone(440, 0.02)),
        "./text.wav": b"hello",
    }
    manifest = unusual_package(small_world, tmp_path, make_deb, files)
    (built,) = build_corpus(tmp_path, manifest=manifest)
    assert built.clips == 1
    assert built.left_out == {
        "copy": 1,
        "not wanted": 1,
        "low rate": 1,
        "short": 1,
        "unreadable": 1,
    }


def test_a_package_that_was_not_fetched_is_named(small_world, tmp_path):
    with pytest.raises(RecurraError, match="data fetch"):
        list(build_corpus(tmp_path, manifest=small_world[1]))


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(RecurraError, match="no clips"):
        Corpus(tmp_path)


def test_splits_share_nothing(corpus):
    check_apart(corpus)
    assert set(voices(corpus, "train")) == {"ann", "bob"}
    assert set(voices(corpus, "test")) == {"cyd", "dan"}
    assert {c.package for clips in noises(corpus, "test").values() for c in clips} == {"row"}
    with pytest.raises(
        SplitError, match="no speech for the split 'validation'; there are train, test"
    ):
        voices(corpus, "validation")


def test_a_voice_in_two_splits_is_found(corpus_folder):
    corpus = Corpus(corpus_folder)
    clip = corpus.select("test", "speech")[0]
    corpus.clips.append(type(clip)(**{**vars(clip), "split": "train"}))
    with pytest.raises(SplitError, match="speech of cyd is in the splits test, train"):
        check_apart(corpus)


def test_totals_add_up_by_voice_and_package(corpus):
    train, validation, test = totals(corpus)
    assert 2.4 + 3 * 0.06 <= train.speech_seconds["ann"] <= 2.4 + 3 * 0.09
    assert validation.speech_seconds == {}
    assert test.noise_seconds["row"] == pytest.approx(9.8, abs=0.1)
