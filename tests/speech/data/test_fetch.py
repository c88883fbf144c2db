import os
import re
import shutil
from dataclasses import replace

import pytest

from recurra.core.errors import RecurraError
from recurra.speech.data import fetch as fetch_module
from recurra.speech.data.fetch import FetchError, fetch
from recurra.speech.data.manifest import Manifest


def test_a_folder_of_packages_is_unpacked_once(tmp_path, small_world):
    debs, manifest = small_world
    first = list(fetch(tmp_path, debs=debs, manifest=manifest))
    assert [(f.package.name, f.files) for f in first] == [("say", 12), ("din", 3), ("row", 3)]
    assert (tmp_path / "sounds/say/usr/share/say/ann/0.wav").is_file()
    assert [f.already_there for f in first] == [False] * 3
    again = list(fetch(tmp_path, debs=tmp_path / "gone", manifest=manifest))
    assert [(f.files, f.already_there) for f in again] == [(12, True), (3, True), (3, True)]


def test_all_packages_that_a_folder_lacks_are_named_and_nothing_is_made(tmp_path, small_world):
    debs, manifest = small_world
    (tmp_path / "some").mkdir()
    shutil.copy(debs / manifest.packages["din"].file, tmp_path / "some")
    lacking = ", ".join(manifest.packages[name].file for name in ("say", "row"))
    with pytest.raises(FetchError, match=f"2 of 3 packages are not there: {re.escape(lacking)};"):
        list(fetch(tmp_path / "new", debs=tmp_path / "some", manifest=manifest))
    assert not (tmp_path / "new").exists()


def test_only_the_packages_named_are_fetched(tmp_path, small_world):
    debs, manifest = small_world
    assert len(list(fetch(tmp_path, debs=debs, packages=["row"], manifest=manifest))) == 1
    assert [p.name for p in (tmp_path / "sounds").iterdir()] == ["row"]
    with pytest.raises(RecurraError, match="unknown package wor; known: say, din, row"):
        list(fetch(tmp_path, debs=debs, packages=["wor"], manifest=manifest))


def test_a_mirror_is_asked_by_its_pool_path(tmp_path, small_world):
    debs, manifest = small_world
    (tmp_path / "mirror/pool/main").mkdir(parents=True)
    shutil.copy(debs / "din_1%3a2_all.deb", tmp_path / "mirror/pool/main/din_2_all.deb")
    address = (tmp_path / "mirror").as_uri() + "/"
    (got,) = fetch(tmp_path, mirror=address, packages=["din"], manifest=manifest)
    assert got.files == 3
    with pytest.raises(FetchError, match=r"row_2_all\.deb"):
        list(fetch(tmp_path, mirror=address, packages=["row"], manifest=manifest))


def test_apt_is_asked_for_the_version_of_the_manifest(tmp_path, small_world, monkeypatch):
    debs, manifest = small_world
    stub = tmp_path / "bin/apt-get"
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\n[ "$1 $2" = "download din=1:2" ] && cp "{debs}"/din_* .\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    (got,) = fetch(tmp_path, packages=["din"], manifest=manifest)
    assert got.files == 3


def test_without_any_source_the_remedy_is_named(tmp_path, small_world, monkeypatch):
    monkeypatch.setattr(fetch_module.shutil, "which", lambda name: None)
    with pytest.raises(FetchError, match="--mirror"):
        list(fetch(tmp_path, packages=["din"], manifest=small_world[1]))


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"size": 7}])
def test_another_package_under_the_same_name_is_refused(tmp_path, small_world, wrong):
    debs, manifest = small_world
    package = replace(manifest.packages["din"], **wrong)
    with pytest.raises(FetchError, match="the manifest says"):
        list(fetch(tmp_path, debs=debs, manifest=Manifest(manifest.voices, {"din": package})))
    assert list((tmp_path / "sounds").iterdir()) == []


def test_an_interruption_leaves_nothing_behind(tmp_path, small_world, monkeypatch):
    debs, manifest = small_world
    unpack = fetch_module.extract_audio

    def interrupted(package, folder):
        unpack(package, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch_module, "extract_audio", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(fetch(tmp_path, debs=debs, packages=["din"], manifest=manifest))
    assert list((tmp_path / "sounds").iterdir()) == []


def test_a_new_version_replaces_the_old_one(tmp_path, small_world):
    debs, manifest = small_world
    list(fetch(tmp_path, debs=debs, packages=["din"], manifest=manifest))
    note = tmp_path / "sounds/din/fetched.json"
    note.write_text(note.read_text().replace(manifest.packages["din"].sha256, "old"))
    (tmp_path / "sounds/din/stale.wav").write_bytes(b"old")
    (got,) = fetch(tmp_path, debs=debs, packages=["din"], manifest=manifest)
    assert not got.already_there
    assert not (tmp_path / "sounds/din/stale.wav").exists()
    assert [p.name for p in (tmp_path / "sounds").iterdir()] == ["din"]
