"""The learning rate, at points worked by hand."""

import pytest
import torch

from recurra.core.training.fit_config import FitConfig
from recurra.core.training.schedule import build_schedule, learning_rate_share, restore_schedule


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 0.25),  # the first of 4 updates of warm-up
        (3, 1.0),
        (4, 1.0),  # the cosine begins at its top
        (8, 0.1 + 0.9 * 0.5),  # half of the 8 updates that are left: cos(pi / 2) = 0
        (12, 0.1),
        (99, 0.1),
    ],
)
def test_warm_up_and_cosine(step, share):
    value = learning_rate_share(step, max_steps=12, warmup_steps=4, schedule="cosine", final=0.1)
    assert value == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0.25), (3, 1.0), (4, 1.0), (6, 0.775), (8, 0.55), (12, 0.1), (99, 0.1)]
)
def test_warm_up_and_line(step, share):
    value = learning_rate_share(step, max_steps=12, warmup_steps=4, schedule="linear", final=0.1)
    assert value == pytest.approx(share, abs=1e-12)


def test_time_that_ends_before_the_steps_do_takes_the_rate_down_instead():
    def share(step, time_share, schedule="linear"):
        sizes = {"max_steps": 12, "warmup_steps": 4, "schedule": schedule, "final": 0.1}
        return learning_rate_share(step, time_share=time_share, **sizes)

    assert share(2, 0.9) == 0.75  # the warm-up goes on
    assert share(5, 0.5) == pytest.approx(0.55)
    assert share(5, 0.5, "cosine") == pytest.approx(0.55)
    assert share(8, 0.2) == pytest.approx(0.55)  # the steps are further
    assert share(5, 1.0) == pytest.approx(0.1)
    assert share(5, 0.5, "constant") == 1.0


def test_a_constant_stays_after_the_warm_up():
    shares = [
        learning_rate_share(k, max_steps=9, warmup_steps=2, schedule="constant", final=0.0)
        for k in range(5)
    ]
    assert shares == [0.5, 1, 1, 1, 1]


def run(config: FitConfig, count: int, state: dict | None = None) -> tuple[list[float], dict]:
    """The rates of `count` updates, and the state after them."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=config.learning_rate)
    schedule = build_schedule(optimizer, config)
    if state is not None:
        restore_schedule(schedule, state)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates, schedule.state_dict()


def test_a_restored_schedule_goes_on_to_the_bit():
    config = FitConfig(max_steps=17, warmup_steps=3, learning_rate=0.3)
    whole, _ = run(config, 17)
    first, state = run(config, 6)
    rest, _ = run(config, 11, state)
    assert first + rest == whole


def test_a_longer_run_follows_its_own_curve_from_the_first_resumed_step_on():
    _, state = run(FitConfig(max_steps=10), 10)
    longer = FitConfig(max_steps=20)
    assert run(longer, 10, state)[0] == run(longer, 20)[0][10:]
