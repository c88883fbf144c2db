"""A config is its defaults, its file and its overrides, or one line that says which is wrong."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from recurra.core.cli import load_config
from recurra.core.errors import RecurraError


@dataclass(frozen=True)
class ModelConfig:
    width: int = 32
    kernel: tuple[int, int] = (5, 2)
    causal: bool = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is {self.width}, but must be at least 1")


@dataclass(frozen=True)
class RunConfig:
    seed: int
    learning_rate: float = 1e-3
    model: ModelConfig = ModelConfig(width=8)
    teacher: ModelConfig | None = None
    student: ModelConfig = field(default_factory=lambda: ModelConfig(width=4))
    schedule: Literal["cosine", "off"] = "cosine"
    name: str = "run"
    folder: Path | None = Path("runs")
    stages: tuple[ModelConfig, ...] = ()
    weights: dict[str, float] = field(default_factory=lambda: {"si_sdr": 1.0})


def write(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text)
    return path


def test_file_fills_defaults_and_overrides_win(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nlearning_rate: 1e-4\nmodel:\n  width: 64\n  kernel: [3, 1]\n")
    config = load_config(RunConfig, path, ["model.width=128", "model.causal=true"])
    assert config == RunConfig(
        seed=1, learning_rate=1e-4, model=ModelConfig(width=128, kernel=(3, 1), causal=True)
    )


def test_without_a_file_the_defaults_stand() -> None:
    assert load_config(ModelConfig) == ModelConfig()
    assert load_config(RunConfig, overrides=["seed=3"]) == RunConfig(seed=3)


def test_empty_file_is_an_empty_config(tmp_path: Path) -> None:
    assert load_config(ModelConfig, write(tmp_path, "# nothing\n")) == ModelConfig()


def test_section_set_in_part_keeps_the_defaults_of_its_place() -> None:
    config = load_config(
        RunConfig, overrides=["seed=1", "model.causal=true", "student.causal=true"]
    )
    assert config.model == ModelConfig(width=8, causal=True)
    assert config.student == ModelConfig(width=4, causal=True)


def test_a_named_config_to_start_from_holds_where_nothing_else_is_said() -> None:
    named = RunConfig(seed=7, model=ModelConfig(width=16), name="named")
    config = load_config(RunConfig, overrides=["model.causal=true", "name=mine"], start=named)
    assert config == RunConfig(seed=7, model=ModelConfig(width=16, causal=True), name="mine")


def test_optional_section_is_made_from_its_class_and_unmade_by_null() -> None:
    config = load_config(RunConfig, overrides=["seed=1", "teacher.causal=true"])
    assert config.teacher == ModelConfig(width=32, causal=True)
    assert load_config(RunConfig, overrides=["seed=1", "teacher=null"]).teacher is None


def test_mapping_field_is_replaced_not_merged(tmp_path: Path) -> None:
    config = load_config(RunConfig, write(tmp_path, "seed: 1\nweights: {mask: 0.5}\n"))
    assert config.weights == {"mask": 0.5}


@pytest.mark.parametrize(
    "line",
    [
        "model: {causal: yes}",
        "model: {causal: 'true'}",
        "model: {causal: 1}",
        "model: {width: '3'}",
        "model: {width: true}",
        "model: {width: 3.0}",
        "model: {kernel: '53'}",
        "model: {kernel: [5, 2.5]}",
        "learning_rate: '1e-3'",
        "learning_rate: true",
        "name: 3",
        "name: true",
        "folder: 3",
        "weights: {si_sdr: '1'}",
        "weights: !!set {si_sdr}",
        "teacher: none",
    ],
)
def test_a_value_of_another_type_is_refused_not_converted(tmp_path: Path, line: str) -> None:
    with pytest.raises(RecurraError, match=r"c\.yaml: ") as caught:
        load_config(RunConfig, write(tmp_path, f"seed: 1\n{line}\n"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["model.causal=yes", "model.causal=1", "seed=1.0", "seed='1'"])
def test_an_override_is_as_strict_as_a_file(override: str) -> None:
    with pytest.raises(RecurraError, match="override "):
        load_config(RunConfig, overrides=["seed=1", override])


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("1e-3", 1e-3), ("2E3", 2000.0), ("-.5", -0.5), ("1_000.5", 1000.5)],
)
def test_numbers_are_read_as_people_write_them(tmp_path: Path, text: str, value: float) -> None:
    path = write(tmp_path, f"seed: 1\nlearning_rate: {text}\n")
    assert load_config(RunConfig, path).learning_rate == value
    read = load_config(RunConfig, overrides=["seed=1", f"learning_rate={text}"])
    assert read.learning_rate == value


def test_infinity_and_not_a_number_have_their_yaml_names(tmp_path: Path) -> None:
    weights = load_config(RunConfig, write(tmp_path, "seed: 1\nweights: {a: .inf, b: .nan}\n"))
    assert weights.weights["a"] == float("inf")
    assert weights.weights["b"] != weights.weights["b"]


@pytest.mark.parametrize(
    ("text", "value"), [("010", 10), ("0x1f", 31), ("0o17", 15), ("10_000", 10_000), ("-3", -3)]
)
def test_whole_numbers_are_those_of_yaml_1_2(text: str, value: int) -> None:
    assert load_config(RunConfig, overrides=[f"seed={text}"]).seed == value


@pytest.mark.parametrize("text", ["off", "yes", "12:30", "2026-01-01", "0b1", "1e", "<"])
def test_words_that_yaml_1_1_would_change_stay_text_in_a_file(tmp_path: Path, text: str) -> None:
    assert load_config(RunConfig, write(tmp_path, f"seed: 1\nname: {text}\n")).name == text


def test_defaults_of_every_kind_survive_a_section_set_in_part(tmp_path: Path) -> None:
    config = load_config(RunConfig, write(tmp_path, "seed: 1\nmodel: {causal: true}\n"))
    assert config == RunConfig(seed=1, model=ModelConfig(width=8, causal=True))
    assert config.model.kernel == (5, 2)


@pytest.mark.parametrize("text", ["007", "yes", "1e5", "2026-01-01", "[a", "a: b", "null "])
def test_text_is_taken_as_written(text: str) -> None:
    assert load_config(RunConfig, overrides=["seed=1", f"name={text}"]).name == text


def test_choice_that_yaml_would_read_as_a_boolean_stays_a_word() -> None:
    assert load_config(RunConfig, overrides=["seed=1", "schedule=off"]).schedule == "off"


def test_optional_path_takes_a_path_or_null() -> None:
    assert load_config(RunConfig, overrides=["seed=1", "folder=a=b/c"]).folder == Path("a=b/c")
    assert load_config(RunConfig, overrides=["seed=1", "folder=null"]).folder is None


def test_last_override_of_a_key_wins() -> None:
    assert load_config(RunConfig, overrides=["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "config: seed is missing"),
        (["sed=1", "seed=1"], "override 'sed=1': unknown key sed; did you mean seed?"),
        (
            ["seed=1", "model.widht=3"],
            "override 'model.widht=3': unknown key model.widht; did you mean model.width?",
        ),
        (
            ["seed=1", "causal=true"],
            "override 'causal=true': unknown key causal; did you mean model.causal?",
        ),
        (
            ["seed=1", "model.zzz=true"],
            "override 'model.zzz=true': unknown key model.zzz; known are width, kernel, causal",
        ),
        (
            ["seed=one"],
            "override 'seed=one': seed: input should be a valid integer, not 'one'",
        ),
        (
            ["seed=1", "model.width=0"],
            "config with override 'model.width=0': model: width is 0, but must be at least 1",
        ),
        (["seed=1", "name.first=x"], "config with override 'name.first=x': name: input should be"),
        (["seed=1", "seed.x=2"], "override 'seed.x=2': seed has no keys of its own"),
        (["seed"], "override 'seed' is not of the form key=value"),
        (["=3"], "override '=3' is not of the form key=value"),
        (["model..width=3"], "override 'model..width=3' is not of the form key=value"),
        (["seed=[1"], "override 'seed=[1': line 1: "),
        (
            ["seed=1", "stages=[{widht: 3}]"],
            "unknown key stages.0.widht; did you mean stages.0.width?",
        ),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(overrides: list[str], message: str) -> None:
    with pytest.raises(RecurraError) as caught:
        load_config(RunConfig, overrides=overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nmodel:\n  widht: 3\n", "c.yaml: unknown key model.widht; did you mean"),
        ("seed: 1\nseed: 2\n", "c.yaml: line 2: the key 'seed' is there twice"),
        ("seed: [1\n", "c.yaml: line 2: "),
        ("- 1\n", "c.yaml holds a list, not keys with values"),
        ("1: 2\nseed: 1\n", "c.yaml: unknown key 1; known are seed"),
        ("seed: !!python/object/apply:os.getcwd []\n", "c.yaml: line 1: could not determine"),
        ("\x00", "c.yaml is not YAML"),
    ],
)
def test_what_is_wrong_in_a_file_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecurraError) as caught:
        load_config(RunConfig, write(tmp_path, text))
    assert message in str(caught.value)


def test_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecurraError, match=r"none\.yaml: No such file"):
        load_config(RunConfig, tmp_path / "none.yaml")
    with pytest.raises(RecurraError, match="Is a directory"):
        load_config(RunConfig, tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RecurraError, match="is not a text file"):
        load_config(RunConfig, tmp_path / "b.yaml")


def test_many_problems_show_three_and_the_count() -> None:
    overrides = ["seed=1", *(f"key{number}=1" for number in range(5))]
    with pytest.raises(RecurraError, match=r"\(and 2 more\)$"):
        load_config(RunConfig, overrides=overrides)
