"""What people see of each view."""

from dataclasses import asdict

import pytest

from nhrpd_py.cli import render, tables, words
from nhrpd_py.core.registration.servers import NhsState
from nhrpd_py.runtime.vici.sas.messages import LIVE_STATES
from tests.unit.runtime.fake_daemon import (
    FakeEngine,
    a_cache_row,
    an_interface_row,
    an_nhs_row,
    an_sa_row,
)


def shown(capsys, view: str, *rows) -> str:
    render.show(view, [asdict(row) for row in rows])
    return str(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.2, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (65, "1m05s"),
        (7380, "2h03m"),
        (439_200, "5d02h"),
        (-3, "0s"),
    ],
)
def test_times_are_written_as_people_say_them(seconds, text) -> None:
    assert tables.duration(seconds) == text


@pytest.mark.parametrize("view", list(tables.TABLES))
def test_an_empty_view_says_so_in_words(capsys, view) -> None:
    text = shown(capsys, view)
    assert text.startswith("no")
    assert text.count("\n") == 1


@pytest.mark.parametrize("view", list(tables.TABLES))
def test_in_a_pipe_a_row_is_a_line(capsys, view) -> None:
    rows = [an_sa_row()] if view == "sas" else FakeEngine().rows[view]
    lines = shown(capsys, view, *rows).split("\n\n")[0].splitlines()
    assert len(lines) == 1 + len(rows)


def test_every_flag_and_type_in_the_table_is_explained_and_no_other(capsys) -> None:
    text = shown(capsys, "cache", a_cache_row(nat=False), a_cache_row(2, type="negative"))
    table, _, legend = text.partition("\n\n")
    assert " Uua " in table
    assert " Uuan " in table
    assert "type: dynamic = a client that registered here; negative = could not be" in legend
    for flag in ("U = up", "u = used", "a = authorized", "n = nat"):
        assert flag in legend
    assert "q = " not in legend
    assert "incomplete" not in legend


def test_every_flag_and_state_that_rows_can_have_is_known() -> None:
    assert set(words.CACHE_TYPES) == {
        *("local", "static", "nhs", "dynamic", "cached", "incomplete", "negative"),
    }
    assert set(words.NHS_STATES) == set(NhsState)
    assert set(words.SHORTCUT_STATES) == {"incomplete", "waiting", "active", "negative"}
    assert set(words.IPSEC_STATES) == {"none", "wanted", "up", "failed"}
    assert set(words.ROUTE_KINDS) == {"host", "shortcut"}
    assert {state for state in words.SA_STATES if state.islower()} == {
        *("wanted", "trying", "failed", "orphaned"),
    }
    assert LIVE_STATES - words.SA_STATES.keys() == {
        "UPDATING"
    }  # for a moment, when addresses change


def test_what_an_interface_does_is_explained(capsys) -> None:
    text = shown(capsys, "interfaces", an_interface_row(redirect=True, shortcut=False))
    assert text.endswith("\ndoes: redirect = tells peers of direct ways, as hubs do\n")


def test_a_natted_peer_shows_both_addresses(capsys) -> None:
    assert "192.0.2.1 (says 192.168.0.1)" in shown(capsys, "cache", a_cache_row())


def test_a_prefix_is_shown_where_it_is_no_host(capsys) -> None:
    text = shown(capsys, "cache", a_cache_row(prefix_length=24), a_cache_row(2))
    assert "10.0.0.1/24" in text
    assert "10.0.0.2 " in text


def test_one_look_at_nhs_says_what_is_wrong(capsys) -> None:
    text = shown(capsys, "nhs", an_nhs_row(), an_nhs_row(afi="ipv6"))
    table, _, below = text.partition("\n\n")
    assert "hub.example.net (192.0.2.1)  (ipv4)" in table
    assert "0/4" in table
    assert below == (
        "state: probe = lost, or not to be reached; asked again, at most every 64 s\n"
        "gre1: hub.example.net (192.0.2.1): last error: no reply\n"
    )


def test_nhs_fit_an_ordinary_terminal(capsys) -> None:
    row = an_nhs_row(
        name="hub1.example.net",
        nbma="203.0.113.10",
        protocol="10.255.255.254",
        state="registering",
        registered_for_s=7380.0,
        next_attempt_in_s=125.0,
        requests_sent=1234,
        replies_received=1234,
    )
    text = shown(capsys, "nhs", row, an_nhs_row(name="192.0.2.1"))
    assert max(map(len, text.partition("\n\n")[0].splitlines())) <= 100


def test_one_look_at_interfaces_says_what_is_wrong(capsys) -> None:
    text = shown(
        capsys,
        "interfaces",
        an_interface_row(),
        an_interface_row(interface="gre2", up=False, problem="no such netdev"),
    )
    assert "PROBLEM" in text.splitlines()[2]
    assert text.endswith("\ngre2: PROBLEM: no such netdev\n")
    assert "gre1: PROBLEM" not in text


@pytest.mark.parametrize(("what", "fate"), [("drop", "dropped"), ("count", "let through")])
def test_wrong_sources_are_told_below_the_interfaces(capsys, what: str, fate: str) -> None:
    text = shown(capsys, "interfaces", an_interface_row(wrong_sources=7, source_filter=what))
    assert text.endswith(f"\ngre1: 7 packets from sources that are not their peer's, {fate}\n")


def test_multicast_is_told_below_the_interfaces(capsys) -> None:
    row = an_interface_row(
        multicast=("dynamic", "192.0.2.9"),
        multicast_targets=2,
        multicast_packets=5,
        multicast_copies=10,
    )
    text = shown(capsys, "interfaces", row)
    assert text.endswith(
        "\ngre1: multicast to dynamic, 192.0.2.9 (2 targets now): 5 packets, 10 copies\n"
    )


@pytest.mark.parametrize("columns", ["60", "300"])
def test_on_a_terminal_no_address_is_cut_or_folded(capsys, monkeypatch, columns) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", columns)
    text = shown(capsys, "nhs", an_nhs_row(name="a-name-of-some-length.example.net"))
    assert "a-name-of-some-length.example.net" in text
    assert "…" not in text


def test_a_dumb_terminal_is_as_wide_as_it_says(capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    assert "hub.example.net (192.0.2.1)" in shown(capsys, "nhs", an_nhs_row())


def test_a_notice_is_a_line() -> None:
    line = render.notice(
        {"time": 0.25, "event": "nhs.up", "level": "info", "interface": "gre1", "nbma": None}
    )
    assert line.endswith(".250 nhs.up                   interface=gre1")


def test_an_sa_that_is_not_used_is_marked(capsys) -> None:
    text = shown(capsys, "sas", an_sa_row(mode="TUNNEL", initiator=False, encap=True))
    assert "nhrp-192.0.2.1[3]{4}" in text
    assert " nt " in text
    assert "n = in UDP" in text
    assert "t = not in transport mode" in text
    assert "i = " not in text


def test_identities_have_a_column_where_there_are_any(capsys) -> None:
    assert "identity" not in shown(capsys, "cache", a_cache_row())
    assert "spoke1.example" in shown(capsys, "cache", a_cache_row(identity="spoke1.example"))
