"""Modules, and what cannot be read."""

from nhrpd_py.cli.check.findings import State, Unread
from tests.unit.cli.check.machines import (
    CLEAR,
    ETH0,
    MODULES,
    a_kernel,
    a_machine,
    complaints,
    gre1,
    the_complaint,
)


def test_a_good_machine_gives_no_complaint() -> None:
    assert complaints(a_machine()) == []


def test_a_missing_module() -> None:
    found = the_complaint(a_machine(kernel=a_kernel(modules=MODULES | {"esp4": False})))
    assert (found.subject, found.state) == ("esp4", State.PROBLEM)


def test_what_cannot_be_read_is_unknown_and_says_why() -> None:
    kernel = a_kernel(links=Unread("ip is not installed", "apt install iproute2"))
    assert {(each.state, each.finding) for each in complaints(a_machine(CLEAR, kernel=kernel))} == {
        (State.UNKNOWN, "ip is not installed")
    }


def test_before_the_daemon_runs_nothing_is_expected_of_it() -> None:
    link = gre1(flags=frozenset({"NOARP"}))
    sysctls = {"net/ipv4/neigh/gre1/app_solicit": "0", "net/ipv4/conf/gre1/send_redirects": "1"}
    kernel = a_kernel(ETH0, link, sysctls=sysctls)
    facts = a_machine(kernel=kernel, daemon=Unread("no daemon answers", "systemctl start nhrpd"))
    assert the_complaint(facts).finding == "no daemon answers"
