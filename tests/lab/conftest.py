"""Lab tests need a kernel with mGRE: tools/lab/pytest_plugin.py runs them in one."""

import pytest

from tools.lab.guest import inside
from tools.lab.inside import InsidePlugin
from tools.lab.pytest_plugin import LabPlugin


def pytest_configure(config: pytest.Config) -> None:
    plugin = InsidePlugin(config) if inside() else LabPlugin(config)
    config.pluginmanager.register(plugin, "nhrpd-lab")
