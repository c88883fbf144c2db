"""Times as people write them."""

import pytest
import typer

from recurra.core.cli import BudgetOption, create_app, parse_minutes, run


@pytest.mark.parametrize(
    ("text", "minutes"), [("90s", 1.5), ("30m", 30.0), ("2h", 120.0), (" 0.5h ", 30.0)]
)
def test_a_time_is_read(text, minutes):
    assert parse_minutes(text) == pytest.approx(minutes)


@pytest.mark.parametrize("text", ["30", "m", "-3m", "0s", "1h30m", "3 days", ""])
def test_what_is_no_time_is_refused_with_the_form(text):
    with pytest.raises(typer.BadParameter, match="give 90s, 30m or 2h"):
        parse_minutes(text)


def test_the_option_hands_over_minutes_and_a_wrong_one_is_a_usage_error(capsys):
    app = create_app("Things.", package="recurra-core")
    given = []

    @app.command()
    def train(budget: BudgetOption = None) -> None:
        given.append(budget)

    @app.command()
    def other() -> None:
        """Make `train` a subcommand."""

    assert run(app, "things", ["train", "--budget", "2h"]) == 0
    assert run(app, "things", ["train"]) == 0
    assert given == [120.0, None]
    assert run(app, "things", ["train", "--budget", "soon"]) == 2
    assert "'soon' is not a time; give 90s, 30m or 2h" in capsys.readouterr().err
