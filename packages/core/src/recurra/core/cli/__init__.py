"""What every command shares: one-line errors, exit codes, batches, progress, configs, tables.

Importing this room costs what typer costs; rich, pydantic and yaml are imported by the functions
that need them.
"""

from recurra.core.cli.app import JsonOption, create_app
from recurra.core.cli.batch import Batch, Done, Outcome, jobs_each
from recurra.core.cli.duration import BudgetOption, parse_minutes
from recurra.core.cli.errors import ExitCode, one_line, run
from recurra.core.cli.inputs import FileInput, expand_inputs
from recurra.core.cli.json_output import print_json
from recurra.core.cli.overrides import load_config
from recurra.core.cli.progress import Progress, progress
from recurra.core.cli.table import print_table

__all__ = [
    "Batch",
    "BudgetOption",
    "Done",
    "ExitCode",
    "FileInput",
    "JsonOption",
    "Outcome",
    "Progress",
    "create_app",
    "expand_inputs",
    "jobs_each",
    "load_config",
    "one_line",
    "parse_minutes",
    "print_json",
    "print_table",
    "progress",
    "run",
]
