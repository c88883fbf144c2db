"""A run ends early when nothing gets better, or when its time is up, and can be gone on with."""

import os
import signal
import time

import pytest
import torch
from tests.core.training.test_fit import checkpoint, lasting, same, stop_after

from recurra.core.training import fit
from recurra.core.training.run_folder import latest_checkpoint

# Validations come at steps 4, 8, 12, ...; lower is better.
GETS_WORSE = {4: 2.0, 8: 1.0, 12: 1.5, 16: float("nan"), 20: 1.0, 24: 0.5, 28: 3.0}


def scripted(task, values=GETS_WORSE):
    """Make `task` reach given values, one a validation; the steps are seen in `task.judged`."""
    task.judged, steps = [], []
    inner = task.training_step

    def training_step(model, batch):
        steps.append(1)
        return inner(model, batch)

    def validate(model):
        step = task.first_step + len(steps)
        task.judged.append(step)
        return {"mse": values[step]}

    task.first_step = 0
    task.training_step, task.validate = training_step, validate
    return task


@pytest.fixture
def minute_steps(monkeypatch):
    """Makes a task each of whose steps takes a minute; nothing else takes time."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def make(task):
        inner = task.training_step

        def training_step(model, batch):
            now[0] += 60
            return inner(model, batch)

        task.training_step = training_step
        return task

    return make


def test_a_run_out_of_patience_ends_and_keeps_the_best(tmp_path, config, regression):
    task = scripted(regression())
    result = fit(task, config(max_steps=40, patience=3), tmp_path / "run", progress=False)
    # 8 is the best; 12 is worse, 16 is no number, 20 only equals it.
    assert (result.step, result.end, result.finished) == (20, "patience", True)
    assert (result.best, result.best_step) == (1.0, 8)
    again = scripted(regression())
    rerun = fit(again, config(max_steps=40, patience=3), tmp_path / "run", progress=False)
    assert rerun == result
    assert again.judged == []
    assert again.training_data.seen == []


def test_more_patience_goes_on_as_if_it_had_been_there_from_the_start(tmp_path, config, regression):
    patient = config(max_steps=28, patience=4)
    whole = fit(scripted(regression()), patient, tmp_path / "whole", progress=False)
    assert (whole.step, whole.end, whole.best_step) == (28, "steps", 24)
    fit(
        scripted(regression()), config(max_steps=28, patience=3), tmp_path / "parts", progress=False
    )
    rest = scripted(regression())
    rest.first_step = 20
    result = fit(rest, patient, tmp_path / "parts", progress=False)
    assert rest.judged == [24, 28]
    assert (result.step, result.end, result.best) == (28, "steps", 0.5)
    assert same(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    # By their text: the NaN of step 16 equals nothing.
    assert str(lasting(tmp_path / "whole")) == str(lasting(tmp_path / "parts"))


def test_an_interruption_does_not_renew_the_patience(tmp_path, config, regression):
    impatient = config(max_steps=40, patience=3)
    fit(stop_after(scripted(regression()), 14), impatient, tmp_path / "run", progress=False)
    rest = scripted(regression())
    rest.first_step = 14
    result = fit(rest, impatient, tmp_path / "run", progress=False)
    assert (result.step, result.end) == (20, "patience")


def test_when_the_time_is_up_the_step_is_validated_and_saved(
    tmp_path, config, regression, minute_steps
):
    task = minute_steps(regression())
    result = fit(task, config(max_minutes=6), tmp_path / "run", progress=False)
    assert (result.step, result.end, result.finished) == (6, "time", True)
    assert len(task.validations) == 2  # at 4, and at the end
    state = latest_checkpoint(tmp_path / "run")
    assert (state["step"], state["validated"]) == (6, 6)
    assert result.metrics == task.validations[-1]
    validated = [row[0] for row in lasting(tmp_path / "run") if row[1] == "validate"]
    assert validated == [4, 6]
    again = minute_steps(regression())
    assert fit(again, config(max_minutes=6), tmp_path / "run", progress=False) == result
    assert again.training_data.seen == []


def test_more_time_goes_on(tmp_path, config, regression, minute_steps):
    def sitting(minutes, folder):
        limited = config(max_minutes=minutes, schedule="constant")
        return fit(minute_steps(regression()), limited, tmp_path / folder, progress=False)

    sitting(6, "parts")
    more = sitting(9.5, "parts")
    assert (more.step, more.end) == (10, "time")
    assert sitting(10, "whole").step == 10
    ours, undisturbed = checkpoint(tmp_path / "parts"), checkpoint(tmp_path / "whole")
    assert same(ours["model"], undisturbed["model"])
    assert same(ours["optimizer"], undisturbed["optimizer"])


def test_the_rate_has_fallen_when_the_time_is_up(tmp_path, config, regression, minute_steps):
    options = {"max_minutes": 8, "schedule": "linear", "final_learning_rate": 0.0}
    limited = config(max_steps=1000, log_every=1, warmup_steps=0, **options)
    first = stop_after(minute_steps(regression()), 3)
    fit(first, limited, tmp_path / "run", progress=False)
    fit(minute_steps(regression()), limited, tmp_path / "run", progress=False)
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    rates = [float(line.split(",")[3]) for line in lines if "learning_rate" in line]
    expected = [limited.learning_rate * (1 - minute / 8) for minute in range(1, 9)]
    assert rates == pytest.approx(expected, abs=limited.learning_rate / 8 + 1e-9)
    assert rates[-1] < rates[2] < rates[0]


def test_the_time_of_all_sittings_counts(tmp_path, config, regression, minute_steps):
    first = stop_after(minute_steps(regression()), 5)
    assert fit(first, config(max_minutes=7), tmp_path / "run", progress=False).end == "interrupted"
    rest = fit(minute_steps(regression()), config(max_minutes=7), tmp_path / "run", progress=False)
    assert (rest.step, rest.end) == (7, "time")


def test_a_last_validation_that_was_cut_short_is_made_up_for(
    tmp_path, config, regression, minute_steps
):
    limited = config(max_minutes=3)
    task = minute_steps(regression())

    def validate(model):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal did not end the validation")

    task.validate = validate
    part = fit(task, limited, tmp_path / "run", progress=False)
    assert (part.step, part.end, part.metrics) == (3, "interrupted", {})
    again = minute_steps(regression())
    rest = fit(again, limited, tmp_path / "run", progress=False)
    assert (rest.step, rest.end, rest.best_step) == (3, "time", 3)
    assert len(again.validations) == 1


def test_why_a_run_ends_early_is_said(tmp_path, config, regression, minute_steps, capsys):
    fit(minute_steps(regression()), config(max_minutes=2), tmp_path / "a")
    assert "the 2 minutes are over: step 2 is saved" in capsys.readouterr().err
    fit(scripted(regression()), config(max_steps=40, patience=3), tmp_path / "b")
    assert "no better for 3 validations: step 20 is saved" in capsys.readouterr().err


def test_a_run_that_began_before_runs_had_a_time_goes_on(tmp_path, config, regression):
    part = fit(stop_after(regression(), 5), config(), tmp_path / "run", progress=False)
    assert part.step == 5
    file = next((tmp_path / "run" / "checkpoints").glob("*.pt"))
    state = torch.load(file, weights_only=True)
    del state["stopping"]
    torch.save(state, file)
    assert fit(regression(), config(), tmp_path / "run", progress=False).step == 12
