"""The whole way in small: sounds, .deb files made of them, and the corpus built from those."""

import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recurra.speech.data.corpora import Corpus, build_corpus
from recurra.speech.data.fetch import fetch
from recurra.speech.data.manifest import Manifest, load_manifest

RATE = 16_000


def wav(audio: np.ndarray, rate: int = RATE) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, audio, rate, "PCM_16", format="WAV")
    return out.getvalue()


def tone(hertz: float, seconds: float, rate: int = RATE, amplitude: float = 0.3) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def ar(members: list[tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n"
        out += header.encode() + data + b"\n" * (len(data) % 2)
    return out


def tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


def deb(files: dict[str, bytes], compression: str = "xz", links: dict | None = None) -> bytes:
    plain = tar(files, links)
    packed = {"xz": lzma.compress, "gz": gzip.compress, "": lambda data: data}[compression](plain)
    suffix = f".{compression}" if compression else ""
    return ar(
        [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (f"data.tar{suffix}", packed)]
    )


@pytest.fixture(name="make_deb")
def make_deb_fixture() -> Callable[..., bytes]:
    return deb


@pytest.fixture(name="make_wav")
def make_wav_fixture() -> Callable[..., bytes]:
    return wav


@pytest.fixture(name="make_tone")
def make_tone_fixture() -> Callable[..., np.ndarray]:
    return tone


@pytest.fixture(name="make_ar")
def make_ar_fixture() -> Callable[..., bytes]:
    return ar


VOICES = {
    "ann": {"language": ["en"], "sex": "f", "split": "train", "name": "Ann"},
    "bob": {"language": ["de"], "sex": "m", "split": "train", "name": None},
    "cyd": {"language": ["fr"], "sex": None, "split": "test", "name": None},
    "dan": {"language": ["it"], "sex": None, "split": "test", "name": None},
}
HERTZ = {"ann": 300.0, "bob": 500.0, "cyd": 700.0, "dan": 900.0}


def speech_files() -> dict[str, bytes]:
    """Four voices, each a tone of its own, with silence around it."""
    files = {}
    for voice, hertz in HERTZ.items():
        for i in range(3):
            silence = np.zeros(RATE // 4, np.float32)
            word = tone(hertz, 0.6 + 0.2 * i)
            files[f"./usr/share/say/{voice}/{i}.wav"] = wav(
                np.concatenate([silence, word, silence])
            )
    return files


def noise_files(seed: int) -> dict[str, bytes]:
    """Music longer than a mixture, a short machine and a short impact."""
    rng = np.random.default_rng(seed)
    return {
        "./usr/share/din/music.wav": wav(rng.normal(0, 0.1, 9 * RATE)),
        "./usr/share/din/machine.wav": wav(rng.normal(0, 0.1, RATE // 2)),
        "./usr/share/din/impact.wav": wav(tone(2000, 0.3) * np.linspace(1, 0, 4800) ** 2),
    }


NOISE_RULES = [[f"*/{kind}.wav", kind] for kind in ("music", "machine", "impact")]


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A folder of tiny .deb files and the manifest that describes them."""
    folder = tmp_path_factory.mktemp("debs")
    voice_rules = [[f"usr/share/say/{voice}/*", voice] for voice in VOICES]
    rows = []
    for name, role, splits, rules, files in (
        ("say", "speech", ["train", "test"], voice_rules, speech_files()),
        ("din", "noise", ["train"], NOISE_RULES, noise_files(1)),
        ("row", "noise", ["test"], NOISE_RULES, noise_files(2)),
    ):
        content = deb(files)
        (folder / f"{name}_1%3a2_all.deb").write_bytes(content)
        rows.append(
            {
                "name": name,
                "version": "1:2",
                "file": f"{name}_1%3a2_all.deb",
                "pool": f"pool/main/{name}_2_all.deb",
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "licence": "CC0-1.0",
                "copyright": "nobody",
                "role": role,
                "splits": splits,
                "voices" if role == "speech" else "kinds": rules,
            }
        )
    path = folder / "manifest.json"
    path.write_text(json.dumps({"voices": VOICES, "packages": rows}))
    return folder, load_manifest(path)


@pytest.fixture(scope="session")
def corpus_folder(
    small_world: tuple[Path, Manifest], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    debs, manifest = small_world
    folder = tmp_path_factory.mktemp("corpus")
    assert len(list(fetch(folder, debs=debs, manifest=manifest))) == 3
    assert len(list(build_corpus(folder, manifest=manifest))) == 3
    return folder


@pytest.fixture(scope="session")
def corpus(corpus_folder: Path) -> Corpus:
    return Corpus(corpus_folder)
