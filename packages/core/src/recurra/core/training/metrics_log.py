"""The numbers of a run on disk: metrics.csv, and TensorBoard events beside it."""

import csv
import io
from pathlib import Path
from typing import Any

from recurra.core.errors import import_extra
from recurra.core.training.run_folder import replace_file

COLUMNS = ("step", "phase", "name", "value")


class MetricsLog:
    """Appends rows of (step, phase, name, value) and the same numbers as TensorBoard scalars.

    Phases are "train" (means since the row before), "validate", and "speed" (which is of the
    machine and not of the run). The table is long, so that a metric may come late or in some
    steps only.

    Args:
        folder: of the run.
        step: where this sitting begins; what an earlier one logged after it is dropped.
        validated: the last step whose validation counts; later ones are dropped.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int, validated: int) -> None:
        self.path = folder / "metrics.csv"
        rows = [r for r in read_metrics(self.path) if _counts(r, step, validated)]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((s, phase, name, repr(value)) for s, phase, name, value in rows)
        replace_file(self.path, lambda stream: stream.write(text.getvalue().encode()))
        self._file = open(self.path, "a", encoding="utf-8", newline="")  # noqa: SIM115 (close)
        self._rows = csv.writer(self._file, lineterminator="\n")
        import_extra("tensorboard", extra="train", package="recurra-core")
        from torch.utils.tensorboard import SummaryWriter

        # purge_step makes TensorBoard forget the events of a sitting that was killed after `step`.
        self._events: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, phase: str, values: dict[str, float]) -> None:
        """Add one row a value, on disk when this returns (as far as a killed process goes)."""
        for name, value in values.items():
            self._rows.writerow((step, phase, name, repr(float(value))))
            self._events.add_scalar(f"{phase}/{name}", value, step)
        self._file.flush()

    def flush(self) -> None:
        """Hand the TensorBoard events to the system, so that a kill after this loses none."""
        self._events.flush()

    def close(self) -> None:
        """Flush and close both logs."""
        self._file.close()
        self._events.close()


def read_metrics(path: Path) -> list[tuple[int, str, str, float]]:
    """The rows (step, phase, name, value) of a metrics.csv; a missing file has none.

    A last line that a killed process left torn is passed over.
    """
    if not path.exists():
        return []
    rows = []
    lines = path.read_text(encoding="utf-8").split("\n")
    # Every whole line ends in a newline, so what follows the last one is torn or empty.
    for row in csv.reader(lines[1:-1]):
        if len(row) == len(COLUMNS):
            step, phase, name, value = row
            rows.append((int(step), phase, name, float(value)))
    return rows


def _counts(row: tuple[int, str, str, float], step: int, validated: int) -> bool:
    """Whether a row was logged before the point that the run resumes from."""
    return row[0] <= (validated if row[1] == "validate" else step)
