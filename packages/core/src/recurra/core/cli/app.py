"""The typer application that each package hangs its commands on."""

from typing import Annotated, TypeAlias

import typer

JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of lines.")
]


def create_app(help: str, *, package: str) -> typer.Typer:
    r"""Make an application with plain help, `-h`, `--help`, `--version` and shell completion.

    Commands are added with `@app.command()`, import what is heavy inside their bodies, and end with
    `raise typer.Exit(code)` where the code is not 0. In their docstrings a line that is a `\b`, the
    character, not two in a raw string, keeps the lines of the paragraph that it begins, such as
    examples, as they are written.

    Args:
        help: what the command does, shown above its subcommands.
        package: the distribution that `--version` reports, such as `recurra-speech`.
    """
    # rich help costs 0.2 s at every start, and its tracebacks hide the line that a report needs.
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def show_version(asked: bool) -> None:
        if asked:
            from importlib.metadata import version

            typer.echo(f"{package} {version(package)}")
            raise typer.Exit

    @app.callback(help=help)
    def options(
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=show_version, is_eager=True, help="Show the version and exit."
            ),
        ] = False,
    ) -> None:
        """Take the options that come before a subcommand."""

    return app
