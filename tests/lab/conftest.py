"""Lab tests need a kernel with mGRE: tools/lab/pytest_plugin.py runs them in one."""

import contextlib
import socket
import subprocess

import pytest

from tests.lab.kernel_store import run
from tools.lab import netns
from tools.lab.guest import inside
from tools.lab.inside import InsidePlugin
from tools.lab.pytest_plugin import LabPlugin


def pytest_configure(config: pytest.Config) -> None:
    plugin = InsidePlugin(config) if inside() else LabPlugin(config)
    config.pluginmanager.register(plugin, "nhrpd-lab")


@pytest.fixture
def gre():
    """A namespace of our own with an underlay `eth0` and a tunnel `gre1`; returns the ifindex of the latter."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(netns.of_our_own())
        except PermissionError:
            pytest.skip("needs CAP_SYS_ADMIN for a network namespace")
        try:
            run("ip link add gre1 type gre key 42 ttl 64 local 192.0.2.1")
        except subprocess.CalledProcessError:
            pytest.skip("needs a kernel with ip_gre")
        for command in (
            "ip link set lo up",
            "ip link add eth0 type dummy",
            "ip link set eth0 up",
            "ip addr add 192.0.2.1/24 dev eth0",
            "ip addr add 10.255.0.1/32 dev gre1",
            "ip link set gre1 up",
        ):
            run(command)
        yield socket.if_nametoindex("gre1")
