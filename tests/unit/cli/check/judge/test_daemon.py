"""The daemon, the clock and the names of servers."""

from dataclasses import replace

import pytest

from nhrpd_py.cli.check.facts import Process
from nhrpd_py.cli.check.findings import State, Unread
from tests.unit.cli.check.machines import (
    ETH0,
    SPOKE,
    a_config,
    a_daemon,
    a_kernel,
    a_machine,
    complaints,
    gre1,
    the_complaint,
)

INTERFACE = {"interface": "gre1", "problem": None, "losing": None, "up": True}
NHS = {"interface": "gre1", "afi": "ipv4", "nbma": "192.0.2.9", "name": "hub", "protocol": None}
TWINS = {"interface": "gre1", "kind": "identity-in-turn", "nbma": "192.0.2.9", "reason": "in turn"}
ROUTE = {"dst": "172.16.0.0/16", "dev": "gre1", "protocol": "bgp"}


def daemon(status=None, **views):
    return a_daemon(a_config(), status, **views)


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        (daemon({"version": "2"}), State.WARNING, "the running daemon is 2, and nhrpctl 1"),
        (daemon({"problems": {"nflog": "no redirects"}}), State.PROBLEM, "no redirects"),
        (daemon(config=[{"path": "a.b", "value": "1"}]), State.WARNING, "is not what it runs with"),
        (daemon(interfaces=[INTERFACE | {"problem": "no key"}]), State.PROBLEM, "no key"),
        (daemon(interfaces=[INTERFACE | {"losing": "5 lost"}]), State.WARNING, "5 lost"),
        (daemon(nhs=[NHS | {"state": "down", "last_error": "code 4"}]), State.PROBLEM, "code 4"),
        (daemon(nhs=[NHS | {"state": "down", "last_error": None}]), State.PROBLEM, "is down"),
        (daemon(nhs=[NHS | {"state": "probe", "last_error": None}]), State.WARNING, "not regis"),
        (
            daemon(nhs=[NHS | {"state": "refused", "last_error": "code 4"}]),
            State.PROBLEM,
            "refused",
        ),
        (
            daemon(peers=[{"nbma": "192.0.2.9", "ipsec": "failed", "last_error": "no proposal"}]),
            State.WARNING,
            "no proposal",
        ),
        (daemon(problems=[TWINS, TWINS | {"nbma": "192.0.2.8"}]), State.PROBLEM, "in turn"),
        (daemon(problems=[TWINS | {"kind": "one-way"}]), State.WARNING, "in turn"),
        (
            replace(daemon(), process=Process(pid=7, user="nhrpd", capabilities=1 << 12)),
            State.PROBLEM,
            "it runs as nhrpd without CAP_NET_RAW",
        ),
        (replace(daemon(), socket_mode=0o140666), State.PROBLEM, "everybody may command it"),
        (Unread("no daemon answers", "systemctl start nhrpd"), State.PROBLEM, "no daemon"),
        (Unread("no permission for the socket"), State.UNKNOWN, "no permission"),
    ],
)
def test_the_daemon(said, state, words) -> None:
    found = the_complaint(a_machine(daemon=said))
    assert (found.area, found.state, words in found.finding) == ("daemon", state, True)


def test_commands_are_for_the_unit_that_runs_it() -> None:
    facts = a_machine(daemon=daemon({"version": "2"}), unit="nhrpd@site")
    assert the_complaint(facts).remedy == "systemctl restart nhrpd@site"
    facts = a_machine(daemon=daemon({"problems": {"nflog": "no samples"}}), unit="nhrpd@site")
    assert the_complaint(facts).remedy == "journalctl -u nhrpd@site -n 50"


def test_a_daemon_in_another_namespace_is_not_judged_by_this_one_unsaid() -> None:
    process = Process(pid=7, user="nhrpd", capabilities=3 << 12, elsewhere=True)
    found = the_complaint(a_machine(daemon=replace(daemon(), process=process), socket="/run/s"))
    assert "another network namespace" in found.finding
    assert found.remedy == "nsenter -t 7 -n nhrpctl -s /run/s check"


def test_all_is_well() -> None:
    rows = [
        NHS | {"state": "up", "last_error": None},
        NHS | {"state": "standby", "last_error": "lost"},
    ]
    assert complaints(a_machine(daemon=daemon(interfaces=[INTERFACE], nhs=rows))) == []


def test_a_clock_that_nothing_synchronises() -> None:
    assert the_complaint(a_machine(clock_synchronised=False)).subject == "clock"
    assert complaints(a_machine(clock_synchronised=None)) == []


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        (["192.0.2.1"], None),
        (["2001:db8::1", "192.0.2.1"], None),
        (["2001:db8::1"], "it has no IPv4 address, only 2001:db8::1"),
        (Unread("it does not resolve: no such name"), "it does not resolve"),
    ],
)
def test_names(addresses, words) -> None:
    kernel = a_kernel(ETH0, gre1(), routes=[ROUTE])
    found = complaints(a_machine(SPOKE, kernel=kernel, names={"hub1.vpn.example": addresses}))
    assert [each.area for each in found] == (["names"] if words else [])
    assert all(each.finding.startswith(words) for each in found)
