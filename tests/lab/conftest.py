"""Lab tests need a kernel with mGRE: tools/lab/pytest_plugin.py runs them in one."""

import pytest

from tools.lab.pytest_plugin import LabPlugin


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LabPlugin(config), "nhrpd-lab")
