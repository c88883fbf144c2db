"""The commands about models themselves."""

from typing import Annotated

import typer

from recurra.core.cli import JsonOption


def info(
    model: Annotated[str, typer.Argument(help="A folder that `train` made, or a Hub id.")],
    json: JsonOption = False,
) -> None:
    """Describe a model: what it is, what it was trained on and what it was worth then.

    \b
    Examples:
      recurra-recsys info model
      recurra-recsys info model --json
    """
    from dataclasses import asdict

    from recurra.core.cli import print_json, print_table
    from recurra.recsys.info import describe

    facts = describe(model)
    if json:
        print_json(asdict(facts))
        return
    rows = [
        ("model", f"{facts.name} ({facts.kind})"),
        ("parameters", f"{facts.parameters / 1e6:.2f} million"),
        ("stored", f"{facts.stored_bytes / 1e6:.2f} MB"),
        ("items", str(facts.items)),
        ("users", str(facts.users)),
        ("events", str(facts.events)),
        *((name, str(value)) for name, value in facts.config.items() if name != "n_items"),
    ]
    for name, row in ((facts.metrics or {}).get("test") or {}).items():
        numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
        said = ", ".join(f"{key} {value:.4g}" for key, value in numbers.items())
        rows.append((f"{name}, test", said))
    print_table(rows, ["", ""])
