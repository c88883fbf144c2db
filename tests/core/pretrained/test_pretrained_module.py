"""A model saved and loaded is the same model; a folder that is not this model is an error."""

import dataclasses
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from recurra.core.errors import CheckpointError, RecurraError
from recurra.core.pretrained import Pretrained, add_file, read_config


@dataclasses.dataclass(frozen=True)
class StageConfig:
    width: int = 3
    kernel: tuple[int, int] = (2, 1)


@dataclasses.dataclass(frozen=True)
class TinyConfig:
    stages: tuple[StageConfig, ...] = (StageConfig(), StageConfig(width=4))
    rate: int = 16000
    name: str | None = None


class Tiny(Pretrained):
    config_class = TinyConfig
    kind = "tiny"

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.stages[0].width, config.stages[1].width)
        self.norm = nn.BatchNorm1d(config.stages[1].width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(x))


CONFIG = TinyConfig(stages=(StageConfig(2, (5, 3)), StageConfig(6)), name="x")


@pytest.fixture
def model() -> Tiny:
    torch.manual_seed(0)
    return Tiny(CONFIG)


def saved(model: Tiny, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def test_config_and_weights_come_back_exactly(model: Tiny, tmp_path: Path) -> None:
    again = Tiny.from_pretrained(saved(model, tmp_path / "m"))
    assert again.config == CONFIG
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
        assert again.state_dict()[name].dtype == tensor.dtype


def test_loaded_model_is_in_eval_mode(model: Tiny, tmp_path: Path) -> None:
    assert model.training
    assert not Tiny.from_pretrained(saved(model, tmp_path / "m")).training


def test_config_json_is_readable_and_names_the_kind(model: Tiny, tmp_path: Path) -> None:
    assert read_config(saved(model, tmp_path / "m")) == {
        "model": "tiny",
        "stages": [{"width": 2, "kernel": [5, 3]}, {"width": 6, "kernel": [2, 1]}],
        "rate": 16000,
        "name": "x",
    }


def test_half_precision_is_stored_and_float32_loaded(model: Tiny, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "m", dtype=torch.float16)
    stored = safetensors.torch.load_file(tmp_path / "m" / "model.safetensors")
    assert stored["layer.weight"].dtype == torch.float16
    assert stored["norm.num_batches_tracked"].dtype == torch.int64
    loaded = Tiny.from_pretrained(tmp_path / "m").layer.weight
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, model.layer.weight.half().float())


def test_asked_dtype_is_the_dtype(model: Tiny, tmp_path: Path) -> None:
    loaded = Tiny.from_pretrained(saved(model, tmp_path / "m"), dtype=torch.bfloat16)
    assert loaded.layer.weight.dtype == torch.bfloat16
    assert loaded.norm.num_batches_tracked.dtype == torch.int64


def test_value_that_float16_cannot_hold_is_refused(model: Tiny, tmp_path: Path) -> None:
    model.norm.running_var.fill_(1e6)
    with pytest.raises(ValueError, match=r"norm\.running_var goes up to 1e\+06"):
        model.save_pretrained(tmp_path / "m", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_tied_weights_are_saved(model: Tiny, tmp_path: Path) -> None:
    model.other = model.layer
    model.save_pretrained(tmp_path / "m")
    stored = safetensors.torch.load_file(tmp_path / "m" / "model.safetensors")
    assert torch.equal(stored["other.weight"], stored["layer.weight"])


def test_saving_again_replaces_the_model_and_keeps_its_card(model: Tiny, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "m", card="# Tiny\n")
    with torch.no_grad():
        model.layer.weight.fill_(7.0)
    model.save_pretrained(tmp_path / "m")
    assert Tiny.from_pretrained(tmp_path / "m").layer.weight[0, 0].item() == 7.0
    assert (tmp_path / "m" / "README.md").read_text() == "# Tiny\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_further_files_belong_to_the_model_and_are_replaced_with_it(
    model: Tiny, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    model.save_pretrained(folder, files={"ids.txt": lambda path: path.write_text("a b")})
    assert (folder / "ids.txt").read_text() == "a b"
    assert Tiny.from_pretrained(folder).config == model.config
    model.save_pretrained(folder)
    assert not (folder / "ids.txt").exists()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RecurraError, match=r"it holds notes\.txt"):
        model.save_pretrained(folder)


def test_a_file_that_is_added_belongs_to_the_model_and_goes_with_it(
    model: Tiny, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    model.save_pretrained(folder, files={"ids.txt": lambda path: path.write_text("a b")})
    for text in ("one", "two"):
        add_file(folder, "index.txt", lambda path, text=text: path.write_text(text))
        assert (folder / "index.txt").read_text() == text
    assert read_config(folder)["files"] == ["ids.txt", "index.txt"]
    assert (folder / "ids.txt").read_text() == "a b"
    assert Tiny.from_pretrained(folder).config == CONFIG
    model.save_pretrained(folder)
    assert not (folder / "index.txt").exists()


def test_a_file_that_fails_to_be_added_leaves_a_model_that_can_be_replaced(
    model: Tiny, tmp_path: Path
) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    folder = saved(model, tmp_path / "m")
    with pytest.raises(RecurraError, match="No space left"):
        add_file(folder, "index.txt", fail)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    model.save_pretrained(folder)


def test_folder_with_other_files_is_left_alone(model: Tiny, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RecurraError, match=r"not a model folder \(it holds thesis\.tex\)"):
        model.save_pretrained(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_failure_while_writing_leaves_the_old_model(
    model: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(model, tmp_path / "m")
    before = (tmp_path / "m" / "model.safetensors").read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        model.save_pretrained(tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_leftovers_of_a_killed_save_do_not_block_the_next(model: Tiny, tmp_path: Path) -> None:
    for name in (".m.partial", ".m.previous"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("half")
    saved(model, tmp_path / "m")
    saved(model, tmp_path / "m")
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "frcrn"}, "kind 'frcrn', not 'tiny'"),
        ({"depth": 3}, "config.json: depth: TinyConfig has no such field"),
        ({"stages": [{"width": "wide"}]}, "config.json: stages.0.width: .*valid integer"),
        ({"stages": [{"breadth": 3}]}, "config.json: stages.0.breadth: .*no such field"),
        ({"rate": 8000, "stages": [{"width": 5}, {"width": 6}]}, "1 mis-shaped .layer.weight is"),
    ],
)
def test_config_of_something_else_is_one_clear_line(
    model: Tiny, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = saved(model, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=message) as caught:
        Tiny.from_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_config_that_is_not_an_object_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(tmp_path)


def test_damaged_and_missing_weights_are_errors(model: Tiny, tmp_path: Path) -> None:
    weights = saved(model, tmp_path / "m") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="is damaged"):
        Tiny.from_pretrained(tmp_path / "m")
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        Tiny.from_pretrained(tmp_path / "m")
