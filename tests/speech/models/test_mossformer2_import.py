"""Official MossFormer2 checkpoints become model folders, or one line says why not."""

import hashlib
import re

import huggingface_hub.constants
import pytest
import torch
from tests.speech.models.mossformer2_vectors import SMALL_SS, vectors

from recurra.core.cli import run
from recurra.speech.cli import app
from recurra.speech.models.mossformer2_se import MossFormer2Se
from recurra.speech.models.mossformer2_ss import MossFormer2Ss
from recurra.speech.models.official import import_official

# What the repository of the paper calls the same layers.
PAPER = [
    (r"^enc\.", "encoder."),
    (r"^dec\.", "decoder."),
    (r"^mask_net\.", "masknet."),
    (r"\bmdl\.intra_mdl\.mossformerM\.", "dual_mdl.0.intra_mdl.mdl.flashT."),
    (r"\bmdl\.intra_mdl\.norm\.", "dual_mdl.0.intra_mdl.mdl.norm.norm."),
    (r"\bmdl\.intra_norm\.", "dual_mdl.0.intra_norm."),
]
COMMIT = "0" * 39 + "1"
BIAS = "mask_net.conv1d_out.bias"


@pytest.fixture
def separator():
    return vectors("ss_small_patched_2spk")[0]


def three_files(tensors, folder):
    folder.mkdir()
    for part in ("encoder", "masknet", "decoder"):
        weights = {}
        for name, value in tensors.items():
            for official, paper in PAPER:
                name = re.sub(official, paper, name)
            if name.startswith(f"{part}."):
                weights[name.removeprefix(f"{part}.")] = value
        torch.save(weights, folder / f"{part}.ckpt")


def has_the_weights_of(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_separator_in_every_layout_becomes_a_folder(separator, prefix, wrapped, tmp_path):
    named = {prefix + name: value for name, value in separator.items()}
    torch.save({"model": named, "epoch": 3} if wrapped else named, tmp_path / "last.pt")
    made = import_official(tmp_path / "last.pt", tmp_path / "ours")
    model = MossFormer2Ss.from_pretrained(tmp_path / "ours")
    assert has_the_weights_of(model, made.model)
    config = model.config
    assert (config.sample_rate, config.n_speakers, config.masking) == (16000, 2, True)
    assert (config.n_filters, config.win_length, config.hop_length) == (24, 16, 8)
    stack = config.stack
    assert (stack.n_blocks, stack.d_model, stack.d_inner, stack.d_key) == (3, 24, 16, 24)
    assert (stack.memory, stack.group) == ("dense", 256)
    card = (tmp_path / "ours" / "README.md").read_text()
    assert hashlib.sha256((tmp_path / "last.pt").read_bytes()).hexdigest() in card


def test_three_files_of_the_paper_are_the_same_network_at_8_khz(separator, tmp_path):
    torch.save(separator, tmp_path / "last.pt")
    one = import_official(tmp_path / "last.pt", tmp_path / "one").model
    three_files(separator, tmp_path / "paper")
    arguments = ["import-checkpoint", str(tmp_path / "paper"), "-o", str(tmp_path / "three")]
    assert run(app, "recurra-speech", [*arguments, "--no-masking"]) == 0
    three = MossFormer2Ss.from_pretrained(tmp_path / "three")
    assert has_the_weights_of(three, one)
    assert (three.config.sample_rate, three.config.masking) == (8000, False)
    assert three.config.stack == one.config.stack


def test_the_number_of_speakers_is_read_off_the_checkpoint(separator, tmp_path):
    third = {
        name: torch.cat([separator[name], separator[name][:24]])
        for name in ("mask_net.conv1d_out.weight", BIAS)
    }
    torch.save(separator | third, tmp_path / "last.pt")
    made = import_official(tmp_path / "last.pt", tmp_path / "ours", sample_rate=8000)
    assert made.model.config.n_speakers == 3
    assert made.model.separate(torch.randn(1, 300)).shape == (1, 3, 300)


def test_a_checkpoint_is_found_by_its_id_on_the_hub(tmp_path, monkeypatch, capsys):
    weights, _ = vectors("se_small_patched")
    repository = tmp_path / "hub" / "models--owner--net_SE_48K"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (snapshot / "last_best_checkpoint").write_text("last_best_checkpoint.pt\n")
    torch.save(weights, snapshot / "last_best_checkpoint.pt")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    command = ["import-checkpoint", "owner/net_SE_48K", "-o", "ours"]
    assert run(app, "recurra-speech", command) == 0
    assert MossFormer2Se.from_pretrained(tmp_path / "ours").config.n_mels == 6
    capsys.readouterr()
    assert run(app, "recurra-speech", ["import-checkpoint", "owner/none", "-o", "theirs"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no model 'owner/none'; Hugging Face Hub: not downloaded yet" in line
    command = ["import-checkpoint", "folder/none.pt", "-o", "theirs"]
    assert run(app, "recurra-speech", command) == 2
    assert "Hub" not in capsys.readouterr().err


def test_an_enhancer_leaves_the_mask_that_is_never_used(tmp_path, capsys):
    weights, _ = vectors("se_small_patched")
    torch.save(weights, tmp_path / "last.pt")
    command = ["import-checkpoint", str(tmp_path / "last.pt"), "-o", str(tmp_path / "ours")]
    assert run(app, "recurra-speech", command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"mossformer2-se of {len(weights)} tensors of MossFormer2_SE_48K" in lines[0]
    assert any(line.startswith("left 2: rows of a second mask") for line in lines[1:])
    model = MossFormer2Se.from_pretrained(tmp_path / "ours")
    kept = model.stack.split.weight
    assert torch.equal(kept, weights["mossformer.conv1d_out.weight"][:24, :, 0])
    assert (model.config.n_mels, model.config.win_length) == (6, 40)


def test_an_enhancer_that_is_not_whole_is_one_line(tmp_path, capsys):
    weights, _ = vectors("se_small_patched")
    torch.save(without(weights, "mossformer.output.0.bias"), tmp_path / "last.pt")
    command = ["import-checkpoint", str(tmp_path / "last.pt"), "-o", str(tmp_path / "ours")]
    assert run(app, "recurra-speech", command) == 2
    assert "1 missing (stack.value.bias)" in capsys.readouterr().err


def without(tensors, name):
    return {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: without(t, BIAS), "1 missing (stack.split.bias)"),
        (lambda t: t | {"mask_net.extra.weight": t[BIAS]}, "1 unknown tensors, first ['mask_net"),
        (lambda t: t | {BIAS: torch.zeros(9)}, "stack.split.bias is (9,), not (48,)"),
        (lambda t: without(t, "enc.conv1d.weight"), "analysis.weight has no place there"),
        (lambda t: t | {"enc.conv1d.weight": torch.zeros(3)}, "has the shape (3,)"),
        (
            lambda t: t | {"mask_net.pos_enc.inv_freq": torch.ones(12)},
            "inv_freq holds other positions",
        ),
        (lambda t: {"enc.conv1d.weight": t["enc.conv1d.weight"]}, "is of no layout that is"),
    ],
    ids=["missing", "unknown", "shape", "no filters", "axes", "positions", "half"],
)
def test_a_checkpoint_that_does_not_fit_is_one_line_with_its_name(
    separator, change, message, tmp_path, capsys
):
    path = tmp_path / "last.pt"
    torch.save(change(separator), path)
    command = ["import-checkpoint", str(path), "-o", str(tmp_path / "ours")]
    assert run(app, "recurra-speech", command) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert str(path) in lines[0]
    assert not (tmp_path / "ours").exists()


def test_a_file_of_three_that_is_missing_is_named(separator, tmp_path, capsys):
    three_files(separator, tmp_path / "paper")
    (tmp_path / "paper" / "decoder.ckpt").unlink()
    command = ["import-checkpoint", str(tmp_path / "paper"), "-o", str(tmp_path / "ours")]
    assert run(app, "recurra-speech", command) == 2
    assert "decoder.ckpt does not exist" in capsys.readouterr().err


def test_defaults_are_the_official_sizes():
    assert SMALL_SS.level_db == -25
    assert MossFormer2Ss.config_class().stack.memory == "dense"
