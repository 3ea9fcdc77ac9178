"""Options and closing lines of all tests."""

import pytest
from hypothesis import HealthCheck, settings

from tools.lab.guest import inside
from tools.suite.times import TimesPlugin

# A busy machine is no fault. The rest stays as Hypothesis has it here: in CI it is derandomized.
settings.register_profile(
    "any-machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-transcripts",
        action="store_true",
        help="write what the stations say now to tests/unit/transcripts/*/*.txt; read the diff",
    )
    parser.addoption(
        "--rewrite-lab-durations",
        action="store_true",
        help="write how long the lab tests took to tests/lab/durations.json, by which they are dealt",
    )
    parser.addoption(
        "--long",
        action="store_true",
        help="simulate whole days where a few hours do for every change: minutes of CPU a test",
    )


@pytest.fixture
def long(pytestconfig: pytest.Config) -> bool:
    """Whether `--long` is given."""
    return bool(pytestconfig.getoption("--long"))


def pytest_configure(config: pytest.Config) -> None:
    if not inside():
        config.pluginmanager.register(TimesPlugin(config), "nhrpd-times")
