"""The command `recurra-recsys`: thin commands that import what they need when they run.

One module a group of commands; each takes its arguments, calls the verb of the same name in
`recurra.recsys`, and says what became of it.
"""

from recurra.core.cli import create_app, run
from recurra.recsys.cli.importing import extend, import_file
from recurra.recsys.cli.judging import compare, evaluate
from recurra.recsys.cli.models import bench, export, index, info
from recurra.recsys.cli.recommending import recommend, similar
from recurra.recsys.cli.serving import serve
from recurra.recsys.cli.training import train, tune

PACKAGE = "recurra-recsys"
app = create_app(
    "Recommend next items from a log of who took what and when. "
    "Try: recurra-recsys train log.csv -o model",
    package=PACKAGE,
)
app.command("import")(import_file)
app.command()(train)
app.command()(tune)
app.command()(extend)
app.command()(recommend)
app.command()(similar)
app.command()(serve)
app.command()(info)
app.command()(bench)
app.command()(index)
app.command()(export)
app.command()(evaluate)
app.command()(compare)


def main() -> int:
    """Run the command line; the exit code is one of `recurra.core.cli.ExitCode`."""
    return run(app, PACKAGE)
