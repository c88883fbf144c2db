"""The two files of MossFormer2_SR_48K become one model folder, or one line says why not."""

import hashlib
import json
import re

import pytest
import torch
from tests.speech.models.mossformer2_vectors import VECTORS, recipe

from recurra.core.cli import run
from recurra.speech.cli import app
from recurra.speech.models.hifi_gan import HifiGanConfig
from recurra.speech.models.mossformer2_sr import MossFormer2Sr
from recurra.speech.models.official import import_official

LAST = "last_best_checkpoint_{}.pt"


def official_keys(part):
    return json.loads((VECTORS / f"MossFormer2_SR_48K.{part}.json").read_text()).items()


def official_halves():
    """Return the official names with one block, and with a generator of a 64th of the channels."""
    stack, generator = {}, {}
    for name, spec in official_keys("mossformer"):
        if not re.search(r"\.(fsmn|layers)\.[1-9]", name):
            stack[name] = torch.from_numpy(recipe(name, spec["shape"]))
    for name, spec in official_keys("generator"):
        shape = [
            n if n in (1, 80) or axis == 2 else n // 64 for axis, n in enumerate(spec["shape"])
        ]
        generator[name] = torch.from_numpy(recipe(name, shape))
    return {"mossformer": stack, "generator": generator}


@pytest.fixture(scope="module")
def halves():
    torch.manual_seed(0)
    return official_halves()


def save(halves, folder, *, prefix="", wrapped=True):
    paths = []
    for key, part in (("mossformer", "m"), ("generator", "g")):
        named = {prefix + name: value for name, value in halves[key].items()}
        paths.append(folder / LAST.format(part))
        torch.save({key: named, "steps": 3} if wrapped else named, paths[-1])
    return paths


@pytest.mark.parametrize(("prefix", "wrapped"), [("", True), ("module.", True), ("", False)])
def test_both_files_become_a_folder(halves, prefix, wrapped, tmp_path):
    paths = save(halves, tmp_path, prefix=prefix, wrapped=wrapped)
    made = import_official(paths, tmp_path / "sr")
    assert made.layout == "MossFormer2_SR_48K"
    assert made.n_read == sum(len(half) for half in halves.values())
    assert sum(map(len, made.left.values())) == 2  # the positions
    config = MossFormer2Sr.from_pretrained(tmp_path / "sr").config
    assert config.generator == HifiGanConfig(channels=16)
    assert (config.n_mels, config.stack.d_model, config.stack.memory) == (80, 512, "plain")
    card = (tmp_path / "sr" / "README.md").read_text()
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() in card for path in paths)


def test_a_folder_that_names_both_and_the_other_order_are_the_same(halves, tmp_path, capsys):
    paths = save(halves, tmp_path)
    lines = "\n".join(f"/checkpoints/of/someone/{path.name}" for path in paths)
    (tmp_path / "last_best_checkpoint").write_text(lines + "\n")
    one = import_official(tmp_path, tmp_path / "one").model.state_dict()
    arguments = ["import-checkpoint", *map(str, reversed(paths)), "-o", str(tmp_path / "two")]
    assert run(app, "recurra-speech", arguments) == 0
    assert "mossformer2-sr" in capsys.readouterr().out
    two = MossFormer2Sr.from_pretrained(tmp_path / "two").state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_lengths_are_multiplied_into_directions(halves, tmp_path):
    model = import_official(save(halves, tmp_path), tmp_path / "sr").model
    for name, ours in (
        ("conv_pre", model.generator.first),
        ("ups.1", model.generator.stages[1].up),
        ("resblocks.5.convs2.1", model.generator.stages[1].blocks[2][1].conv2),
    ):
        conv = type(ours)(ours.in_channels, ours.out_channels, ours.kernel_size, ours.stride)
        normed = torch.nn.utils.parametrizations.weight_norm(conv)
        length, direction = (halves["generator"][f"{name}.weight_{x}"] for x in "gv")
        normed.parametrizations.weight.original0.data = length
        normed.parametrizations.weight.original1.data = direction
        torch.testing.assert_close(ours.weight, normed.weight)
    activation = model.generator.stages[1].blocks[2][1].snake2.alpha
    expected = halves["generator"]["resblocks.5.convs2_activates.1.alpha"][0, :, 0]
    assert torch.equal(activation, expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [("m", "the generator (_g.pt) of MossFormer2_SR_48K is missing"), ("g", "(_m.pt) of MossF")],
)
def test_one_file_alone_asks_for_the_other(halves, given, message, tmp_path, capsys):
    save(halves, tmp_path)
    path = tmp_path / LAST.format(given)
    command = ["import-checkpoint", str(path), "-o", str(tmp_path / "sr")]
    assert run(app, "recurra-speech", command) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert str(path) in lines[0]
    assert not (tmp_path / "sr").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("conv_post.weight_g", None, "conv_post.weight_g is missing"),
        ("snakes.2.alpha", None, "1 missing (generator.stages.2.snake.alpha)"),
        ("snakes.9.alpha", torch.ones(1, 4, 1), "1 unknown (generator.stages.9.snake.alpha)"),
        ("ups.3.weight_v", torch.ones(3), "ups.3.weight_v has the shape (3,)"),
        ("conv_pre.weight_v", None, "its generator has no stages"),
        ("ups.0.weight_v", torch.ones(16, 8, 6), "multiples of 4"),
    ],
)
def test_a_generator_that_does_not_fit_is_one_line(halves, name, value, message, tmp_path, capsys):
    changed = dict(halves["generator"])
    if value is None:
        del changed[name]
    else:
        changed[name] = value
    paths = save(halves | {"generator": changed}, tmp_path)
    command = ["import-checkpoint", *map(str, paths), "-o", str(tmp_path / "sr")]
    assert run(app, "recurra-speech", command) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
