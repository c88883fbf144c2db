"""Logs of interactions: read from files, in the order of time, split to be judged."""

from recurra.recsys.data.interactions import Interactions
from recurra.recsys.data.read_log import LogColumns, LogReport, read_log, read_table
from recurra.recsys.data.split import Holdout, Split, leave_one_out

__all__ = [
    "Holdout",
    "Interactions",
    "LogColumns",
    "LogReport",
    "Split",
    "leave_one_out",
    "read_log",
    "read_table",
]
