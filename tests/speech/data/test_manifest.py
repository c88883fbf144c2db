import json

import pytest

from recurra.core.errors import RecurraError
from recurra.speech.data.manifest import Package, load_manifest

MANIFEST = load_manifest()


def test_the_test_voices_are_those_that_were_set_apart():
    held_out = {name for name, voice in MANIFEST.voices.items() if voice.split == "test"}
    assert {"june", "carlo", "kde-fr", "kde-it", "alsa", "pocketsphinx-librivox"} <= held_out
    assert MANIFEST.voices["allison"].languages == ("en", "es")


def test_a_language_is_one_voice_in_both_kde_packages():
    klettres, ktuberling = MANIFEST.packages["klettres-data"], MANIFEST.packages["ktuberling-data"]
    assert klettres.label_of("usr/share/klettres/da/alpha/a.ogg") == "kde-da"
    assert ktuberling.label_of("usr/share/ktuberling/sounds/da/hat.ogg") == "kde-da"
    assert klettres.label_of("usr/share/klettres/en_GB/alpha/a.ogg") == "kde-en-GB"


@pytest.mark.parametrize(
    ("package", "path"),
    [
        ("hedgewars-data", "usr/share/games/hedgewars/Data/Sounds/voices/Singer/Hello.ogg"),
        ("hedgewars-data", "usr/share/games/hedgewars/Data/Sounds/Yoohoo.ogg"),
        ("ufoai-sound", "usr/share/games/ufoai/base/0snd.pk3/sound/soldiers/maledeath01.ogg"),
        ("ufoai-sound", "usr/share/games/ufoai/base/0snd.pk3/sound/ambience/tv_newswav.ogg"),
        ("megaglest-data", "usr/share/games/megaglest/techs/megapack/x/guard_ack1.wav"),
        ("asterisk-core-sounds-en-g722", "usr/share/asterisk/sounds/en_US_f_Allison/beep.g722"),
        ("alsa-utils", "usr/share/sounds/alsa/Noise.wav"),
    ],
)
def test_voices_are_no_noise_and_beeps_are_no_voice(package, path):
    assert MANIFEST.packages[package].label_of(path) is None


def test_voices_in_a_package_of_noises_are_speech():
    hedgewars = MANIFEST.packages["hedgewars-data"]
    folder = "usr/share/games/hedgewars/Data/"
    names = ["Sounds/voices/Pirate/Hello.ogg", "Sounds/explosion.ogg", "Music/hell.ogg"]
    labels = [hedgewars.label_of(folder + name) for name in names]
    assert labels == ["hedgewars-pirate", "impact", "music"]
    assert [MANIFEST.role_of(label) for label in labels] == ["speech", "noise", "noise"]


def test_a_voice_of_another_split_than_the_noises_around_it_is_refused(tmp_path, small_world):
    raw = json.loads((small_world[0] / "manifest.json").read_text())
    voice = next(name for name, v in raw["voices"].items() if v["split"] != "train")
    raw["packages"][1] |= {"splits": ["train"], "kinds": [["*", voice]]}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(RecurraError, match=r"din: its voices are in"):
        load_manifest(path)


def test_noise_packages_are_whole_in_one_split():
    train = {name for name, split in MANIFEST.noise_splits.items() if split == "train"}
    test = {name for name, split in MANIFEST.noise_splits.items() if split == "test"}
    assert len(train) >= 4
    assert test == {"ufoai-sound", "asterisk-moh-opsound-g722", "searchandrescue-data"}


@pytest.mark.parametrize("package", MANIFEST.packages.values(), ids=lambda p: p.name)
def test_every_package_is_pinned_and_licensed(package: Package):
    assert len(package.sha256) == 64
    assert int(package.sha256, 16) > 0
    assert package.size > 1_000_000
    assert package.licence
    assert package.copyright
    epochless = package.version.split(":")[-1]
    assert package.pool.rsplit("/", 1)[-1].startswith(f"{package.name}_{epochless}_")
    assert package.file.replace("%3a", ":").startswith(f"{package.name}_{package.version}_")


def test_the_first_rule_that_matches_decides(small_world):
    package = small_world[1].packages["din"]
    assert package.label_of("usr/share/din/music.wav") == "music"
    assert package.label_of("usr/share/din/music.ogg") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": ["train"]}, r"say: its voices are in \['test', 'train'\]"),
        ({"voices": [["*", "eve"]]}, r"say: voices that are not listed: \['eve'\]"),
        ({"colour": "red"}, "not a manifest"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path, small_world, change, message):
    raw = json.loads((small_world[0] / "manifest.json").read_text())
    raw["packages"][0] |= change
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(RecurraError, match=message):
        load_manifest(path)


def test_noise_in_two_splits_is_refused(tmp_path, small_world):
    raw = json.loads((small_world[0] / "manifest.json").read_text())
    raw["packages"][1]["splits"] = ["train", "test"]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(RecurraError, match="din: a noise package belongs to exactly one split"):
        load_manifest(path)
