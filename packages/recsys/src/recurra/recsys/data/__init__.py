"""Logs of interactions: read from files, in the order of time, split to be judged."""

from recurra.recsys.data.interactions import Interactions
from recurra.recsys.data.log_folder import import_log, open_log
from recurra.recsys.data.log_rows import LogColumns, LogReport
from recurra.recsys.data.read_log import read_log, read_table
from recurra.recsys.data.split import Holdout, Split, leave_one_out, split_by_time, split_log

__all__ = [
    "Holdout",
    "Interactions",
    "LogColumns",
    "LogReport",
    "Split",
    "import_log",
    "leave_one_out",
    "open_log",
    "read_log",
    "read_table",
    "split_by_time",
    "split_log",
]
