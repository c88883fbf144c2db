"""A config says what is wrong with it."""

import dataclasses

import pytest

from recurra.core.training import FitConfig


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_steps": 0}, "max_steps is 0; it must be at least 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"validate_every": 0}, "validate_every is 0; it must be at least 1, or null"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"final_learning_rate": 1.5}, "final_learning_rate is 1.5; it must be from 0 to 1"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0; it must be above 0, or null"),
        ({"patience": 0}, "patience is 0; it must be at least 1, or null"),
        ({"max_minutes": 0.0}, "max_minutes is 0.0; it must be above 0, or null"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0; it must be between 0 and 1, or null"),
        ({"schedule": "line"}, "schedule is 'line'; it must be cosine, linear or constant"),
        ({"precision": "f16"}, "precision is 'f16'; it must be f32 or bf16"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_limit(change, message):
    with pytest.raises(ValueError, match="must be") as error:
        FitConfig(**change)
    assert str(error.value) == message


def test_patience_without_validations_is_refused():
    with pytest.raises(ValueError, match="patience counts validations, and validate_every is null"):
        FitConfig(patience=3, validate_every=None)


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FitConfig().seed = 1
