"""A table on stdout, for people."""

from collections.abc import Iterable, Sequence


def print_table(
    rows: Iterable[Sequence[object]], columns: Sequence[str], *, title: str | None = None
) -> None:
    """Print rows under column heads: numbers to the right, floats with two decimals, None empty.

    On a terminal long cells are folded to its width; into a file or a pipe every row is one line.

    Args:
        rows: cells in the order of `columns`; give a string where two decimals are not right.
        columns: heads, one a column.
        title: a line above the table.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [tuple(row) for row in rows]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row has {len(row)} cells for {len(columns)} columns: {row}")
    table = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    if title is not None:  # not the table's own, which would be folded to its width
        console.print(Text(title), soft_wrap=True)
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
