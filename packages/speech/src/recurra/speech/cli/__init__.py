"""The command `recurra-speech`: thin commands that import what they need when they run.

One module a group of commands; each takes its arguments, calls the verb of the same name in
`recurra.speech`, and says what became of it.
"""

import typer

from recurra.core.cli import create_app, run
from recurra.speech.cli.cleaning import enhance, live
from recurra.speech.cli.models import bench, export, import_checkpoint, info
from recurra.speech.cli.options import PACKAGE
from recurra.speech.cli.scoring import evaluate, plot
from recurra.speech.cli.separating import separate
from recurra.speech.cli.training import fetch_data, mix, train
from recurra.speech.cli.upsampling import upsample

app = create_app(
    "Clean noisy recordings of speech, take voices apart, and bring narrow recordings to the full "
    "band. Try: recurra-speech enhance noisy.wav",
    package=PACKAGE,
)
for command in (enhance, separate, upsample, live, evaluate, plot, info, bench, export):
    app.command()(command)
app.command("import-checkpoint")(import_checkpoint)
app.command()(mix)
app.command()(train)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Sounds to train on.")
data_app.command("fetch")(fetch_data)
app.add_typer(data_app, name="data")


def main() -> int:
    """Run the command line; the exit code is one of `recurra.core.cli.ExitCode`."""
    return run(app, PACKAGE)
