"""Says at the end to how many cases a law did not apply."""

import pytest
from tests.core.laws.cases import summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line if the laws were among the tests."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    if any("tests/core/laws/" in report.nodeid for report in reports):
        terminalreporter.write_line(summary())
