"""Each package installs alone, from its wheel, into an empty environment."""

import os
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch

from recurra.speech.losses import si_sdr

WEIGHTS = "recurra/speech/weights/frcrn-small"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command apart from the checkout's environment; what it prints."""
    ours = ("UV_", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    env = {k: v for k, v in os.environ.items() if not k.startswith(ours) or k == "UV_CACHE_DIR"}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def wheels(
    copy_project: Callable[[Path], Path], make_once: Callable[[str, Callable[[Path], None]], Path]
) -> dict[str, Path]:
    """The wheel of every package by the distribution's name."""

    def build(folder: Path) -> None:
        tree = copy_project(folder / "tree")
        run("uv", "build", "--all-packages", "--wheel", "--out-dir", folder / "dist", cwd=tree)

    folder = make_once("wheels", build)
    return {path.name.split("-")[0]: path for path in (folder / "dist").glob("*.whl")}


@pytest.fixture(scope="session")
def python(
    wheels: dict[str, Path], make_once: Callable[[str, Callable[[Path], None]], Path], root: Path
) -> Path:
    """The interpreter of an environment that has recurra-speech from its wheel and no extras."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["uv"]
    wheel = wheels["recurra_speech"]

    def install(folder: Path) -> None:
        run("uv", "venv", "--python", "3.11", folder / "env", cwd=folder)
        into = ["--python", folder / "env" / "bin" / "python", "--find-links", wheel.parent]
        dated = ["--exclude-newer", settings["exclude-newer"]]
        run("uv", "pip", "install", *into, *dated, wheel, cwd=folder)

    return make_once("alone", install) / "env" / "bin" / "python"


@pytest.mark.slow
def test_a_wheel_brings_its_own_part_of_the_namespace(wheels: dict[str, Path], root: Path) -> None:
    assert wheels.keys() == {f"recurra_{p.name}" for p in (root / "packages").iterdir()}
    for name, wheel in wheels.items():
        own = name.replace("_", "/") + "/"
        files = [f for f in zipfile.ZipFile(wheel).namelist() if not f.endswith("/")]
        assert [f for f in files if ".dist-info/" not in f and not f.startswith(own)] == []


@pytest.mark.slow
def test_the_speech_wheel_ships_weights_with_their_card(wheels: dict[str, Path]) -> None:
    files = zipfile.ZipFile(wheels["recurra_speech"]).namelist()
    shipped = {Path(f).name for f in files if f.startswith(f"{WEIGHTS}/")}
    assert shipped >= {"config.json", "model.safetensors", "README.md"}
    assert "recurra/speech/data/manifest.json" in files


@pytest.mark.slow
def test_an_installed_wheel_cleans_the_example(python: Path, root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "examples" / "noisy.wav", tmp_path)
    printed = run(python.with_name("recurra-speech"), "enhance", "noisy.wav", cwd=tmp_path)
    assert printed.strip() == "wrote noisy.enhanced.wav"

    noisy, cleaned = tmp_path / "noisy.wav", tmp_path / "noisy.enhanced.wav"
    before, after = soundfile.info(noisy), soundfile.info(cleaned)
    for kept in ("frames", "samplerate", "channels", "format", "subtype"):
        assert getattr(after, kept) == getattr(before, kept), kept

    clean = read(root / "examples" / "clean.wav")
    score = {path: si_sdr(reference=clean, estimate=read(path)) for path in (noisy, cleaned)}
    assert score[cleaned] > score[noisy] + 1


@pytest.mark.slow
def test_a_missing_extra_is_named_with_the_command_that_brings_it(
    python: Path, tmp_path: Path
) -> None:
    probe = (
        "from recurra.core.errors import MissingExtraError\n"
        "from recurra.core.pretrained import resolve\n"
        "try: resolve('nobody/nothing', shipped_in='recurra.speech.weights')\n"
        "except MissingExtraError as error: print(error)\n"
    )
    printed = run(python, "-c", probe, cwd=tmp_path)
    assert "frcrn-small" in printed
    assert "uv pip install 'recurra-core[hub]'" in printed


def read(path: Path) -> torch.Tensor:
    """Mono samples (T,), float64."""
    return torch.from_numpy(soundfile.read(path)[0])
