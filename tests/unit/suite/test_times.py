"""The closing table."""

import pytest

from tools.lab.process import Usage
from tools.suite.times import TITLE, Row, TimesPlugin, rows

pytest_plugins = "pytester"


def test_a_guest_that_idles_and_waits_for_a_processor() -> None:
    row = Row("lab1", Usage(wall_s=100.0, cpu_s=40.0, idle_s=25.0), tests=7, expected_s=90.4)
    assert TITLE.split() == [
        "tests",
        "expected",
        "wall",
        "s",
        "CPU",
        "s",
        "idle",
        "s",
        "stalled",
        "s",
    ]
    assert row.text().split() == ["lab1", "7", "90", "100.0", "40.0", "25.0", "35.0"]


def test_what_is_not_known_is_left_out() -> None:
    assert Row("mypy", Usage(wall_s=20.0, cpu_s=19.0)).text().split() == ["mypy", "20.0", "19.0"]


def test_the_table_is_printed_where_something_ran_beside(pytester: pytest.Pytester) -> None:
    class Beside:
        def pytest_configure(self, config: pytest.Config) -> None:
            config.pluginmanager.register(TimesPlugin(config))

        def pytest_sessionfinish(self, session: pytest.Session) -> None:
            rows(session.config).append(Row("beside", Usage(wall_s=2.0, cpu_s=0.0)))

    pytester.makepyfile("def test_one(): pass\ndef test_two(): pass")
    result = pytester.runpytest_inprocess(plugins=[Beside()])
    result.stdout.fnmatch_lines(
        ["tests in this process *2 *", "beside *2.0 *0.0", "*processors*idle*"]
    )
    result = pytester.runpytest_inprocess()
    result.stdout.no_fnmatch_line("*where the time went*")
