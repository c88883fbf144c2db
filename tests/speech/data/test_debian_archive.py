import io
import zipfile
from pathlib import Path

import pytest

from recurra.speech.data.debian_archive import ArchiveError, extract_audio


@pytest.mark.parametrize("compression", ["xz", "gz", ""])
def test_audio_files_come_out_of_every_compression(tmp_path, make_deb, compression):
    package = tmp_path / "a.deb"
    files = {"./usr/x/one.wav": b"sound", "./usr/x/Two.OGG": b"more", "./usr/bin/tool": b"code"}
    package.write_bytes(make_deb(files, compression))
    assert extract_audio(package, tmp_path / "out") == 2
    assert (tmp_path / "out/usr/x/one.wav").read_bytes() == b"sound"
    assert (tmp_path / "out/usr/x/Two.OGG").read_bytes() == b"more"
    assert not (tmp_path / "out/usr/bin").exists()


def test_the_copyright_file_is_kept_but_not_counted(tmp_path, make_deb):
    package = tmp_path / "a.deb"
    package.write_bytes(make_deb({"./usr/share/doc/a/copyright": b"GPL", "./a.wav": b"x"}))
    assert extract_audio(package, tmp_path) == 1
    assert (tmp_path / "usr/share/doc/a/copyright").read_bytes() == b"GPL"


def test_sounds_inside_a_zip_inside_the_package_are_found(tmp_path, make_deb):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("sound/boom.ogg", b"boom")
        archive.writestr("maps/city.bsp", b"walls")
    package = tmp_path / "a.deb"
    package.write_bytes(make_deb({"./usr/0snd.pk3": packed.getvalue()}))
    assert extract_audio(package, tmp_path / "out") == 1
    assert (tmp_path / "out/usr/0snd.pk3/sound/boom.ogg").read_bytes() == b"boom"


@pytest.mark.parametrize("name", ["../evil.wav", "/etc/evil.wav", "./a/../../evil.wav"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, make_deb, name):
    package = tmp_path / "a.deb"
    package.write_bytes(make_deb({name: b"x"}))
    with pytest.raises(ArchiveError, match="leaves the folder"):
        extract_audio(package, tmp_path / "out")
    assert not list(tmp_path.rglob("evil.wav"))


def test_a_zip_cannot_leave_the_folder_either(tmp_path, make_deb):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../evil.wav", b"x")
    package = tmp_path / "a.deb"
    package.write_bytes(make_deb({"./a.zip": packed.getvalue()}))
    with pytest.raises(ArchiveError, match="leaves the folder"):
        extract_audio(package, tmp_path / "out")


def test_links_are_left_out(tmp_path, make_deb):
    package = tmp_path / "a.deb"
    package.write_bytes(make_deb({"./a.wav": b"x"}, links={"./b.wav": "/etc/passwd"}))
    assert extract_audio(package, tmp_path / "out") == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.wav"]


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"!<arch>\n", b"!<arch>\nshort"])
def test_what_is_no_package_is_named(tmp_path, content):
    package = tmp_path / "a.deb"
    package.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"a\.deb: not a Debian package"):
        extract_audio(package, tmp_path / "out")


@pytest.mark.parametrize("compression", ["xz", "gz"])
def test_a_package_that_was_cut_short_is_an_error(tmp_path, make_deb, compression):
    package = tmp_path / "a.deb"
    content = make_deb({"./a.wav": bytes(range(256)) * 400}, compression)
    package.write_bytes(content[:-60])
    with pytest.raises(ArchiveError, match="damaged"):
        extract_audio(package, tmp_path / "out")


def test_an_unknown_compression_is_named(tmp_path, make_ar):
    package = Path(tmp_path / "a.deb")
    package.write_bytes(make_ar([("debian-binary", b"2.0\n"), ("data.tar.lz4", b"????")]))
    with pytest.raises(ArchiveError, match=r"unknown compression '\.lz4'"):
        extract_audio(package, tmp_path / "out")
