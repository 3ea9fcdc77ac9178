"""What nhrpd cannot be told yet: one place has all of it, and a line less there switches it on."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from nhrpd_py.cli.importing import hand_over, later, page
from nhrpd_py.cli.importing.actions import nothing
from nhrpd_py.config.schema import InterfaceTable
from tests.unit.cli.importing.imports import ALL_SAMPLES, imported, sample


def rules_that_need() -> set[str]:
    return {rule.needs for table in page.TABLES.values() for rule in table if rule.needs}


def test_every_reason_is_needed() -> None:
    in_code = {"map-prefix", "map-name", "redirect-interval"}
    assert later.LATER.keys() - rules_that_need() <= in_code


def test_what_is_there_is_not_called_missing() -> None:
    """A setting that the schema got must lose its row."""
    assert set(InterfaceTable.keys()) & later.LATER.keys() - {"cluster"} == set()


@pytest.fixture
def all_there(monkeypatch) -> None:
    """As if nhrpd could be told all of it; its loader, which cannot, is not asked."""
    monkeypatch.setattr(later, "LATER", {})
    monkeypatch.setattr(hand_over, "parse", lambda _text, _name: None)


def tables(name: str) -> dict[str, Any]:
    interfaces: dict[str, Any] = tomllib.loads(sample(name).files["nhrpd.toml"])["interface"]
    return interfaces


def test_all_of_it_is_written_as_soon_as_it_is_there(all_there) -> None:
    assert tables("frr/hub-bgp.conf")["gre1"]["multicast"] == ["dynamic"]
    clusters = tables("ios/nhs-clusters.conf")["tunnel9"]
    assert clusters["cluster"] == [{"number": 1, "max-connections": 1}]
    assert (clusters["nhs-fallback"], clusters["vrf"], clusters["multicast"]) == (
        *(25, "CORP", ["nhs"]),
    )
    spoke = tables("ios/phase3-spoke-ikev1.conf")["tunnel0"]
    assert spoke["registration-interval"] == 75
    hub = tables("ios/phase3-hub-ikev2.conf")["tunnel100"]
    assert (hub["redirect-interval"], hub["summary-map"]) == (5, ["192.168.0.0/16"])
    assert tables("opennhrp/dynamic-map.conf")["gre1"]["lookup-tables"] == [50]
    maps = tables("opennhrp/hub-of-hubs.conf")["gre1"]
    assert maps["shortcut-target"] == ["192.168.0.0/16"]
    assert {each["protocol"]: each["nbma"] for each in maps["map"]} == {
        "10.42.0.2": "198.51.100.2",
        "10.42.9.0/24": "198.51.100.9",
        "10.42.0.4": "backup.corp.example",
    }
    document = tomllib.loads(sample("frr/ospf-vrf.conf").files["nhrpd.toml"])
    assert document["daemon"] == {"event-socket": "/run/nhrp-events.sock"}
    document = tomllib.loads(sample("frr/hub-bgp.conf").files["nhrpd.toml"])
    assert document["nflog"] == {"redirect-group": 5, "multicast-group": 6}


def test_ospf_goes_on_beside_nhrpd_as_soon_as_multicast_is_there(all_there) -> None:
    text = sample("frr/ospf-vrf.conf").files["frr.conf"]
    assert "interface gre9\n ip ospf network point-to-multipoint\nexit\n" in text
    assert "router ospf\n ospf router-id 10.92.0.1\n network 10.92.0.0/24 area 0\nexit\n" in text


def test_nothing_says_not_yet_then(all_there) -> None:
    for path in ALL_SAMPLES:
        assert "because nhrpd" not in imported(path).report


def test_the_page_has_the_tables_of_the_rules() -> None:
    """`python -m nhrpd_py.cli.importing.page` writes them."""
    text = Path("docs/interoperation.md").read_text()
    assert text == page.renewed(text)


def test_the_page_says_nothing_where_nothing_is_done() -> None:
    silent = [
        rule.command
        for table in page.TABLES.values()
        for rule in table
        if rule.do is nothing and rule.documented and not rule.becomes.startswith("nothing")
    ]
    assert silent == []
