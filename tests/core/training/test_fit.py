"""The laws of the training loop."""

import multiprocessing
import os
import signal

import pytest
import torch

from recurra.core.errors import RecurraError
from recurra.core.training import DivergedError, fit
from recurra.core.training.metrics_log import read_metrics
from recurra.core.training.run_folder import latest_checkpoint


def same(a: object, b: object) -> bool:
    """Whether two nested states are equal to the bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def checkpoint(folder) -> dict:
    """The newest state without the time that the machine took."""
    state = latest_checkpoint(folder)
    del state["stopping"]["seconds"]
    return state


def lasting(folder) -> list[tuple]:
    """The metrics that the run, and not the machine, decides."""
    return [row for row in read_metrics(folder / "metrics.csv") if row[1] != "speed"]


def stop_after(task, step: int, per_step: int = 1):
    """Make `task` send SIGTERM in the middle of update `step`, as a kill of the group would."""
    inner, calls = task.training_step, []

    def training_step(model, batch):
        calls.append(1)
        if len(calls) == step * per_step:
            for process in [*multiprocessing.active_children(), multiprocessing.current_process()]:
                os.kill(process.pid, signal.SIGTERM)
        return inner(model, batch)

    task.training_step = training_step
    return task


ACCUMULATED = {"accumulate": 3, "ema_decay": 0.9}


@pytest.mark.parametrize(
    ("changes", "stop"),
    [({}, stop) for stop in (1, 4, 5, 7, 11)]
    + [(ACCUMULATED, stop) for stop in (3, 4, 7)]
    + [({"workers": 2, "ema_decay": 0.9}, 6)],
)
def test_a_stopped_and_resumed_run_equals_an_undisturbed_one_to_the_bit(
    tmp_path, config, regression, changes, stop
):
    whole = fit(regression(), config(**changes), tmp_path / "whole", progress=False)
    first = stop_after(regression(), stop, changes.get("accumulate", 1))
    part = fit(first, config(**changes), tmp_path / "parts", progress=False)
    assert (part.step, part.finished) == (stop, False)
    rest = fit(regression(), config(**changes), tmp_path / "parts", progress=False)
    assert rest.finished
    assert (rest.step, rest.best, rest.best_step) == (12, whole.best, whole.best_step)
    assert same(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))
    assert lasting(tmp_path / "whole") == lasting(tmp_path / "parts")


def test_training_starts_from_the_weights_the_model_has(tmp_path, config, regression):
    task = regression()
    with torch.no_grad():
        task.model.last.weight.fill_(7.0)
    fit(task, config(max_steps=1, learning_rate=1e-9), tmp_path / "run", progress=False)
    assert torch.allclose(task.model.last.weight, torch.tensor(7.0))


def test_a_batch_is_whatever_collate_makes(tmp_path, config, regression):
    task = regression()
    inner, seen = task.training_step, []

    def training_step(model, batch):
        (x, y), names = batch
        seen.append(names)
        return inner(model, {"x": x, "y": y})

    def collate(items):
        stacked = [torch.stack([item[key] for item in items]) for key in ("x", "y")]
        return tuple(stacked), {"names": ["a"] * len(items)}

    task.collate, task.training_step = collate, training_step
    assert fit(task, config(), tmp_path / "ours", progress=False).finished
    assert seen == [{"names": ["a"] * 4}] * 12
    fit(regression(), config(), tmp_path / "default", progress=False)
    assert same(checkpoint(tmp_path / "ours"), checkpoint(tmp_path / "default"))


def test_accumulated_small_batches_equal_one_large_batch(tmp_path, config, regression):
    tasks = []
    for name, batch_size, accumulate in (("small", 4, 3), ("large", 12, 1)):
        task = regression(dropout=0.0, norm=False)
        chosen = config(batch_size=batch_size, accumulate=accumulate, validate_every=None)
        fit(task, chosen, tmp_path / name, progress=False)
        tasks.append(task)
    for a, b in zip(tasks[0].model.parameters(), tasks[1].model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_nan_loss_stops_and_leaves_the_last_good_checkpoint(tmp_path, config, regression):
    task = regression(poison=8)
    with pytest.raises(DivergedError, match="diverged at step"):
        fit(task, config(checkpoint_every=1), tmp_path / "run", progress=False)
    state = latest_checkpoint(tmp_path / "run")
    assert 1 <= state["step"] < 12
    assert all(torch.isfinite(p).all() for p in task.model.parameters())
    assert all(torch.isfinite(state["model"][n]).all() for n in ("first.weight", "last.weight"))


def test_bf16_trains_and_hands_the_model_back_in_f32(tmp_path, config, regression):
    task = regression()
    seen = []
    task.model.first.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    before = task.validate(task.model.eval())["mse"]
    result = fit(
        task,
        config(precision="bf16", max_steps=60, validate_every=60),
        tmp_path / "a",
        progress=False,
    )
    assert torch.bfloat16 in seen
    assert result.metrics["mse"] < before
    assert task.model(torch.ones(2, 6)).dtype == torch.float32
    assert task.model.first(torch.ones(2, 6)).dtype == torch.float32
    seen.clear()
    task.model(torch.ones(2, 6))
    assert seen == [torch.float32]
    # The precision of one run sticks neither to the model nor to the process.
    fit(task, config(max_steps=1), tmp_path / "b", progress=False)
    assert set(seen) == {torch.float32}
    fit(task, config(max_steps=1, precision="bf16"), tmp_path / "c", progress=False)
    assert torch.bfloat16 in seen


def test_best_is_the_model_of_the_best_validation_and_last_of_the_end(tmp_path, config, regression):
    task = regression()
    result = fit(task, config(ema_decay=0.9), tmp_path / "run", progress=False)
    values = [v["mse"] for v in task.validations]
    assert len(values) == 3  # at 4, 8 and 12
    assert result.best == min(values)
    assert result.best_step == 4 * (1 + values.index(min(values)))
    judge = regression()
    judge.model.load_state_dict(torch.load(tmp_path / "run" / "best" / "weights.pt"))
    assert judge.validate(judge.model.eval())["mse"] == result.best
    judge.model.load_state_dict(torch.load(tmp_path / "run" / "last" / "weights.pt"))
    assert judge.validate(judge.model.eval())["mse"] == values[-1]


def test_a_signal_in_a_validation_gives_it_up_and_the_next_sitting_repeats_it(
    tmp_path, config, regression
):
    whole = fit(regression(), config(), tmp_path / "whole", progress=False)
    task = regression()

    def validate(model):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal did not end the validation")

    task.validate = validate
    part = fit(task, config(), tmp_path / "parts", progress=False)
    assert (part.step, part.finished, part.metrics) == (4, False, {})
    again = regression()
    rest = fit(again, config(), tmp_path / "parts", progress=False)
    assert len(again.validations) == 3
    assert rest.metrics == whole.metrics
    assert lasting(tmp_path / "whole") == lasting(tmp_path / "parts")


def test_a_finished_run_is_left_as_it_is(tmp_path, config, regression):
    first = fit(regression(), config(), tmp_path / "run", progress=False)
    task = regression()
    second = fit(task, config(), tmp_path / "run", progress=False)
    assert second == first
    assert task.validations == []
    assert task.training_data.seen == []


def test_a_finished_run_can_be_extended(tmp_path, config, regression):
    fit(regression(), config(), tmp_path / "run", progress=False)
    more = fit(regression(), config(max_steps=16, workers=1), tmp_path / "run", progress=False)
    assert (more.step, more.end) == (16, "steps")
    with pytest.raises(RecurraError, match="max_steps was 16, now 12"):
        fit(regression(), config(), tmp_path / "run", progress=False)


def test_signals_have_their_old_meaning_after_a_fit(tmp_path, config, regression):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    fit(regression(), config(max_steps=1), tmp_path / "run", progress=False)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_state_of_another_model_is_refused_in_one_line(tmp_path, config, regression):
    fit(regression(), config(max_steps=5), tmp_path / "run", progress=False)
    other = regression()
    other.model.last = torch.nn.Linear(8, 2)
    with pytest.raises(RecurraError, match=r"another model.*last\.weight") as error:
        fit(other, config(max_steps=9), tmp_path / "run", progress=False)
    assert "\n" not in str(error.value)
