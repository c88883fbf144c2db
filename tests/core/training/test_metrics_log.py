"""The numbers of a run on disk."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recurra.core.training.metrics_log import MetricsLog, read_metrics


def log(folder: Path, step: int, validated: int, *rows: tuple[int, str, float]) -> None:
    """One sitting that writes `rows`."""
    opened = MetricsLog(folder, step, validated)
    for at, phase, value in rows:
        opened.write(at, phase, {"loss": value})
    opened.close()


def test_rows_after_the_resumed_step_are_dropped(tmp_path):
    log(
        tmp_path,
        0,
        0,
        (1, "train", 0.1),
        (2, "train", 0.2),
        (2, "validate", 9.0),
        (3, "train", 0.3),
    )
    log(tmp_path, 2, 0, (3, "train", 0.33))
    assert read_metrics(tmp_path / "metrics.csv") == [
        (1, "train", "loss", 0.1),
        (2, "train", "loss", 0.2),
        (3, "train", "loss", 0.33),
    ]


def test_a_torn_last_line_is_passed_over(tmp_path):
    log(tmp_path, 0, 0, (1, "train", 0.5))
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("2,train,lo")
    assert read_metrics(tmp_path / "metrics.csv") == [(1, "train", "loss", 0.5)]
    log(tmp_path, 2, 0, (3, "train", 0.25))
    text = (tmp_path / "metrics.csv").read_text()
    assert text == "step,phase,name,value\n1,train,loss,0.5\n3,train,loss,0.25\n"


def test_values_come_back_to_the_bit(tmp_path):
    value = 0.1 + 0.2
    log(tmp_path, 0, 0, (1, "train", value))
    assert read_metrics(tmp_path / "metrics.csv")[0][3] == value


def test_tensorboard_forgets_what_a_killed_sitting_did_after_its_checkpoint(tmp_path):
    log(tmp_path, 0, 0, (1, "train", 1.0), (2, "train", 2.0), (3, "train", 3.0))
    log(tmp_path, 1, 0, (2, "train", 4.0))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1.0), (2, 4.0)]
