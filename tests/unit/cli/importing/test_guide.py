"""A guide goes in as a whole, and comes out as the files of `etc/`."""

import re
from pathlib import Path

from nhrpd_py.config.load import load
from nhrpd_py.core.config import Config
from tests.unit.cli.importing.imports import sample

ETC = Path("etc")


def commands(text: str) -> list[str]:
    """The lines of a file without comments, and with single blanks."""
    lines = (re.sub(r"(^|\s)[#!].*", "", line) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


def of_etc(name: str) -> list[str]:
    return commands((ETC / name).read_text())


def about(config: Config) -> list[object]:
    """What two configurations must agree about: all but what the systems do otherwise by default."""
    (each,) = config.interfaces.values()
    return [
        *(each.name, each.network_id, each.shortcut, each.redirect, each.unique),
        *(each.nhs, each.maps, each.ipsec, each.authorize, config.nflog),
    ]


def test_it_comes_out_as_the_files_of_etc() -> None:
    result = sample("guide.txt")
    assert sorted(result.files) == [
        "frr-hub.conf",
        "ifupdown-gre1",
        "iptables-hub.rules",
        "nhrpd-hub.toml",
        "nhrpd-spoke.toml",
        "swanctl-hub.conf",
        "swanctl-spoke.conf",
    ]
    assert all((ETC / name).exists() for name in result.files)
    for name in ("ifupdown-gre1", "iptables-hub.rules", "swanctl-hub.conf", "swanctl-spoke.conf"):
        assert commands(result.files[name]) == of_etc(name), name
    for name in ("nhrpd-hub.toml", "nhrpd-spoke.toml"):
        assert about(result.config(name)) == about(load(ETC / name)), name


def test_its_routing_is_that_of_etc() -> None:
    """etc/ adds timers, and more spokes; all that the guide says is there as well."""
    made = commands(sample("guide.txt").files["frr-hub.conf"])
    wanted = of_etc("frr-hub.conf")
    assert [line for line in made if line not in wanted and "prefix-list" not in line] == []
    assert [line for line in wanted if line not in made] == [
        "log syslog",
        "ip prefix-list tunnel-addresses seq 5 permit 10.255.255.0/24 ge 32",
        "timers bgp 10 30",
        "neighbor spokes-ibgp timers connect 5",
        "neighbor 10.255.255.3 peer-group spokes-ibgp",
    ]
    assert "ip prefix-list tunnel-addresses permit 10.255.255.0/24 ge 32" in made


def test_what_is_shown_once_for_both_is_told() -> None:
    report = sample("guide.txt").report
    hub, _, spoke = report.partition("For the spoke:")
    assert "A hub registers nowhere: the line is in the spoke's file." in hub
    assert "no effect within one AS" in hub
    assert "etc/frr-spoke.conf" in spoke
    assert "ebgp-multihop" not in spoke
