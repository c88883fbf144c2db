"""A log of interactions from a file, into memory, or from the folder that an import made of one."""

from pathlib import Path

import polars as pl

from recurra.core.errors import RecurraError
from recurra.recsys.data.interactions import Interactions
from recurra.recsys.data.log_folder import check_not_empty, is_log_folder, open_log
from recurra.recsys.data.log_rows import LogColumns, LogReport, LogRows
from recurra.recsys.data.tables import table_errors, table_pieces


def read_log(path: Path, columns: LogColumns | None = None) -> tuple[Interactions, LogReport]:
    """Read who took what and when.

    Rows without a user, an item or a readable time, rows without a weight or below `weight_min` and
    exact repeats of a row with a time are left out and counted. Whether times are numbers or dates
    is decided by the first that can be read.

    Args:
        path: a file whose name ends in .parquet, or text with a header (.csv, .tsv, .inter, .txt,
            also with .gz), whose separator is the one that the header has most of; or a folder of
            `import_log`, whose arrays stay on the disk.
        columns: names of columns, where they are not the usual ones; not for a folder.

    Raises:
        RecurraError: it cannot be read, a column is missing, or no row is left.
    """
    if is_log_folder(path):
        if columns is not None and columns != LogColumns():
            raise RecurraError(f"{path} was imported with its columns and filters; import it anew")
        return open_log(path)
    asked = columns or LogColumns()
    rows = LogRows(path, asked)
    frame = pl.concat(list(rows.batches()))
    if "time" in frame.columns:
        fresh = frame.filter(pl.struct("user", "item", "time").is_first_distinct())
        if len(fresh) < len(frame):
            rows.left_out["repeated row"] += len(frame) - len(fresh)
        # By numpy, as for a folder: polars multiplies by the reciprocal, which rounds otherwise.
        seconds = fresh["time"].to_numpy() / rows.time_unit()[1]
        frame = fresh.with_columns(pl.Series("time", seconds))
    log = Interactions.from_frame(frame, asked.k_core)
    if len(log) < len(frame):
        rows.left_out[f"not in the {asked.k_core}-core"] += len(frame) - len(log)
    report = rows.report()
    check_not_empty(path, len(log), report)
    return log, report


def read_table(path: Path) -> pl.DataFrame:
    """Read a file of any form that `read_log` takes, as it is; columns of a text are text.

    Raises:
        RecurraError: it cannot be read as a table.
    """
    with table_errors(path):
        return pl.concat(piece.collect() for piece in table_pieces(path))
