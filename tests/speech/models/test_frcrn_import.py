"""A person's official checkpoint becomes a model folder, or one line says why not."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recurra.core.cli import run
from recurra.core.errors import CheckpointError
from recurra.speech.cli import app
from recurra.speech.models.frcrn import Frcrn
from recurra.speech.models.official import import_official

VECTORS = Path(__file__).parent / "vectors" / "frcrn_small_full.safetensors"
ALIASES = [
    (r"\.(en|de)coder(\d)\.", r".\1coders.\2."),
    (r"\.fsmn_(enc|dec)(\d)\.", r".fsmn_\1.\2."),
    (r"\.se_layer_(enc|dec)(\d)\.", r".se_layers_\1.\2."),
]
BIAS = "unet.encoder1.conv.conv_re.bias"


def alias(name):
    for pattern, replacement in ALIASES:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture
def official():
    """The official layout at 8 channels: most tensors under two names, dead layers, kernels."""
    tensors = load_file(VECTORS)
    weights = {name[2:]: value for name, value in tensors.items() if name.startswith("w.")}
    both = weights | {alias(name): value for name, value in weights.items()}
    kernels = {"stft.weight": torch.zeros(642, 1, 640), "istft.weight": torch.zeros(642, 1, 640)}
    dead = {"unet.fsmn_enc0.another": torch.zeros(8)}
    assert len(both) > 1.5 * len(weights)
    return both | kernels | dead


@torch.inference_mode()
def gives_the_official_numbers(model):
    tensors = load_file(VECTORS)
    inner = slice(64, -64)
    expected = tensors["out.est_wav"][:, inner]
    torch.testing.assert_close(model(tensors["in.0"])[:, inner], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_file_in_every_layout_becomes_a_folder_with_the_official_numbers(
    official, prefix, wrapped, tmp_path
):
    named = {prefix + name: value for name, value in official.items()}
    torch.save({"model": named, "epoch": 3} if wrapped else named, tmp_path / "last.pt")
    import_official(tmp_path / "last.pt", tmp_path / "ours")
    model = Frcrn.from_pretrained(tmp_path / "ours")
    assert model.config.level_db == -25
    gives_the_official_numbers(model)


@pytest.mark.parametrize("only", ["first", "second"])
def test_either_name_of_a_layer_is_enough(official, only, tmp_path):
    second = {name for name in official if re.search(r"(coders|fsmn_...|layers_...)\.\d", name)}
    first = {name for name in official if alias(name) != name}
    dropped = second if only == "first" else first
    torch.save({n: v for n, v in official.items() if n not in dropped}, tmp_path / "last.pt")
    gives_the_official_numbers(import_official(tmp_path / "last.pt", tmp_path / "ours").model)


def test_the_command_takes_the_folder_of_a_checkpoint(official, tmp_path, capsys):
    folder = tmp_path / "FRCRN_SE_16K"
    folder.mkdir()
    torch.save(official, folder / "last_best_checkpoint.pt")
    (folder / "last_best_checkpoint").write_text("elsewhere/last_best_checkpoint.pt\n")
    command = ["import-checkpoint", str(folder), "-o", str(tmp_path / "ours")]
    assert run(app, "recurra-speech", command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"wrote {tmp_path / 'ours'} (0.0")
    assert lines[0].endswith(f"frcrn of {len(official)} tensors of FRCRN_SE_16K")
    left = sorted(re.sub(r" \d+", "", line) for line in lines[1:])
    assert [line.partition(" (")[0] for line in left] == [
        "left: layers that are never called",
        "left: transforms, which are computed",
    ]
    assert left[1].endswith("(stft.weight, istft.weight)")
    gives_the_official_numbers(Frcrn.from_pretrained(tmp_path / "ours"))


def without_bias(tensors):
    return {n: v for n, v in tensors.items() if n not in (BIAS, alias(BIAS))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {BIAS: t[BIAS] + 1}, f"two names of {BIAS} hold different values"),
        (without_bias, "1 missing (unets.0.encoders.1.bias_re)"),
        (lambda t: t | {"unet.attention.weight": t[BIAS]}, "1 unknown tensors"),
        (lambda t: without_bias(t) | {BIAS: torch.zeros(9)}, "1 mis-shaped"),
        (
            lambda t: {n: v[0] if n.endswith("conv1.weight") else v for n, v in t.items()},
            "not one of four",
        ),
        (lambda t: {"stft.weight": t["stft.weight"]}, "it has no first encoder"),
        (
            lambda t: {"layer4.1.weight": t[BIAS], "fc.bias": t[BIAS]},
            "no layout that is known; known are FRCRN_SE_16K, MossFormer2_SE_48K, "
            "MossFormer2_SS_16K, MossFormer2_SR_48K (two files), MossFormer2 (three files); "
            "its tensors begin with fc, layer4",
        ),
        (lambda t: {"model": [1, 2]}, "entries that are not tensors: model"),
    ],
    ids=["aliases", "missing", "unknown", "shape", "axes", "empty", "foreign", "list"],
)
def test_a_checkpoint_that_does_not_fit_is_one_line_with_its_name(
    official, change, message, tmp_path, capsys
):
    path = tmp_path / "last.pt"
    torch.save(change(official), path)
    command = ["import-checkpoint", str(path), "-o", str(tmp_path / "ours")]
    assert run(app, "recurra-speech", command) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert str(path) in lines[0]
    assert not (tmp_path / "ours").exists()


def test_what_is_no_checkpoint_is_told_apart(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        import_official(tmp_path / "none.pt", tmp_path / "ours")
    with pytest.raises(CheckpointError, match="no last_best_checkpoint; give"):
        import_official(tmp_path, tmp_path / "ours")
    (tmp_path / "last_best_checkpoint").write_text("gone.pt")
    with pytest.raises(CheckpointError, match=r"gone\.pt does not exist"):
        import_official(tmp_path, tmp_path / "ours")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match=r"text\.pt"):
        import_official(tmp_path / "text.pt", tmp_path / "ours")
