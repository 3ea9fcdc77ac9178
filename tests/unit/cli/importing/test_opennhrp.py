"""OpenNHRP: its configuration, and the scripts beside it."""

from nhrpd_py.core.address import format_address
from tests.unit.cli.importing.imports import SAMPLES, imported, of_text, refusal, sample, servers


def test_a_spoke() -> None:
    result = sample("opennhrp/spoke.conf")
    spoke = result.interface("gre1")
    assert list(result.config().interfaces) == ["gre1"]  # eth1 is a network behind it
    assert servers(spoke) == [("10.40.0.1", "hub.corp.example")]
    assert (spoke.holding_time_s, spoke.unique, spoke.shortcut) == (3600, True, True)
    assert "eth1 is a network behind this node" in result.report


def test_a_hub_answers_for_its_networks() -> None:
    """`shortcut-destination` on a LAN is `shortcut` on the tunnel, and the firewall samples now."""
    result = sample("opennhrp/hub.conf")
    hub = result.interface("gre1")
    assert (hub.shortcut, hub.redirect, hub.nhs) == (True, True, ())
    assert "-i gre1 -o gre1" in result.files["iptables.rules"]


def test_a_dynamic_map_is_a_server_whose_address_is_learnt() -> None:
    result = sample("opennhrp/dynamic-map.conf")
    assert servers(result.interface("gre1")) == [("dynamic", "hubs.corp.example")]
    assert result.waits(1, "lookup-tables")


def test_words_may_stand_on_any_line() -> None:
    result = sample("opennhrp/hub-of-hubs.conf")
    hub = result.interface("gre1")
    assert [format_address(each.protocol) for each in hub.maps] == ["10.42.0.2"]
    assert servers(hub) == [("10.42.0.3", "198.51.100.3")]
    assert not hub.unique
    assert (hub.shortcut, hub.redirect) == (True, True)
    assert result.waits(5, "map-prefix")
    assert result.waits(6, "map-name")
    assert result.waits(7, "shortcut-target")


def test_words_that_it_does_not_know_are_told() -> None:
    result = sample("opennhrp/two-tunnels.conf")
    assert result.reason(7) == "OpenNHRP does not know it here either."
    assert result.interface("gre2").max_holding_time_s == 65000
    assert "network-id = 1 " in result.files["nhrpd.toml"]
    assert "a number of our own choice" in result.files["nhrpd.toml"]


def test_the_script_is_told_of_with_what_replaces_it() -> None:
    """Without the script, in one sentence; with it, each event at its line."""
    conf = SAMPLES / "opennhrp/spoke.conf"
    alone = imported(conf)
    assert "peer-register: [[interface.NAME.authorize]]" in alone.report
    both = imported(conf, SAMPLES / "opennhrp/opennhrp-script").report
    lines = [line.strip() for line in both.splitlines() if "opennhrp-script line" in line]
    assert [line.rpartition("opennhrp-script ")[2] for line in lines] == [
        "line 3: interface-up",
        "line 6: peer-register",
        "line 9: peer-up",
        "line 13: peer-down",
        "line 13: nhs-down",
        "line 16: route-up",
    ]
    assert "puts the routes of shortcuts into the kernel itself" in both


def test_a_script_alone_is_no_configuration() -> None:
    script = (SAMPLES / "opennhrp/opennhrp-script").read_text()
    assert "give that file as well" in refusal(script)


def test_a_file_that_ends_within_a_keyword_is_not_whole() -> None:
    text = "interface gre1\n  holding-time 600\n  shortcut\n  map 10.0.0.1/24"
    assert refusal(text) == "standard input: line 4: the file ends within map"


def test_a_hub_needs_no_line_of_its_own() -> None:
    assert of_text("interface gre1\n  holding-time 600\n").interface("gre1").nhs == ()
