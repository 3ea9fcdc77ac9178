"""Somebody else listens on our NFLOG group: everything but redirects works, and operators are told."""

import os
import sys
from collections.abc import Iterator

import pytest

from tests.lab.expect import wait_registered
from tools.lab.guest import REPOSITORY
from tools.lab.namespace import stop, wait_until
from tools.lab.nodes import NhrpdNode, dmvpn
from tools.lab.topology import Lab
from tools.lab.wiring import REDIRECT_GROUP, TUNNEL


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield dmvpn(made, hub=NhrpdNode, spokes=(NhrpdNode,), holding_time_s=30)


def test_a_taken_group_is_shown_and_costs_redirects_only(lab: Lab) -> None:
    hub = lab.hubs[0]
    assert isinstance(hub, NhrpdNode)
    wait_registered(lab)
    assert problem(hub) is None
    assert hub.stop() == 0
    config, rival_socket = hub.directory / "rival.toml", hub.directory / "rival.sock"
    config.write_text(
        f'[daemon]\ncontrol-socket = "{rival_socket}"\nstate-directory = "{hub.directory}/rival"\n'
        f"[nflog]\nredirect-group = {REDIRECT_GROUP}\n"
        "[interface.other0]\nnetwork-id = 9\nredirect = true\n"
    )
    rival = hub.namespace.popen(
        *(sys.executable, "-m", "nhrpd_py.cli.daemon", "-c", config),
        log=hub.directory / "rival.log",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        wait_until(rival_socket.exists, 10.0, "the rival runs")
        wait_until(lambda: owners(hub), 10.0, "the rival has the group")
        hub.start()
        told = wait_until(lambda: problem(hub), 5.0, "a problem")
        print(f"operator: {told}")
        assert told.startswith(
            f"no redirects: NFLOG group {REDIRECT_GROUP} cannot be bound: another"
        )
        assert hub.logged("nflog.failed")
        wait_registered(lab)
        assert hub.show("interfaces")[0]["up"]
        assert hub.lan.ping(lab.spokes[0].lan_host, count=2).lost == 0
    finally:
        stop(rival)


def problem(node: NhrpdNode) -> str | None:
    shown = {each["interface"]: each["problem"] for each in node.show("interfaces")}
    found: str | None = shown[TUNNEL]
    return found


def owners(node: NhrpdNode) -> list[str]:
    """The groups that somebody has bound, as the kernel lists them: number, port, …"""
    listed = node.namespace.run("cat", "/proc/net/netfilter/nfnetlink_log", check=False)
    return [line for line in listed.splitlines() if line.split()[0] == str(REDIRECT_GROUP)]
