"""Connections that import makes, as strongSwan's own program reads them, and as nhrpd takes them for profiles."""

import re
import shutil
from pathlib import Path

import pytest

from nhrpd_py.config.load import load
from nhrpd_py.runtime.vici.profiles.profiles import faults_of
from nhrpd_py.runtime.vici.profiles.swanctl import read_swanctl
from nhrpd_py.runtime.vici.wire.connection import Section, sections, text
from tests.unit.cli.importing.imports import ALL_SAMPLES, imported, of_text, sample

WITH_CONNECTION = [path for path in ALL_SAMPLES if "swanctl.conf" in imported(path).files]
needs_swanctl = pytest.mark.skipif(shutil.which("swanctl") is None, reason="no swanctl here")


async def connection(directory: Path, content: str) -> Section:
    """What charon would get."""
    path = directory / "swanctl.conf"
    path.write_text(content)
    conf = await read_swanctl(str(path), directory=directory)
    assert conf.problem is None
    (found,) = conf.connections.values()
    return found


@needs_swanctl
@pytest.mark.parametrize("path", WITH_CONNECTION, ids=lambda path: path.stem)
async def test_nhrpd_takes_each_for_a_profile(path: Path, tmp_path: Path) -> None:
    """What `nhrpd --check` finds wrong with the files together: nothing."""
    result = imported(path)
    swanctl = tmp_path / "swanctl.conf"
    swanctl.write_text(result.files["swanctl.conf"])
    toml = tmp_path / "nhrpd.toml"
    where = f'[vici]\nswanctl-config = "{swanctl}"\n[daemon]\ncontrol-socket = "{tmp_path}/s"\n'
    toml.write_text(where + result.files["nhrpd.toml"])
    conf = await read_swanctl(str(swanctl), directory=tmp_path)
    assert conf.problem is None
    assert await faults_of(load(toml)) == []


@needs_swanctl
async def test_charon_gets_what_the_router_had(tmp_path: Path) -> None:
    found = await connection(tmp_path, sample("ios/phase3-spoke-ikev1.conf").files["swanctl.conf"])
    assert text(found["version"]) == "1"
    ((_, child),) = sections(found["children"])
    assert text(child["mode"]) == "transport"
    assert [text(each) for each in child["esp_proposals"]] == ["aes256-sha256"]
    assert [text(each) for each in child["local_ts"]] == ["dynamic[gre]"]


def test_keys_that_look_like_another_notation_are_written_as_octets() -> None:
    """charon reads 0x… as hexadecimal and 0s… as base64; a router's key is text, whatever it begins with."""
    made = of_text(
        "interface Tunnel0\n ip nhrp network-id 1\n tunnel mode gre multipoint\n"
        " tunnel protection ipsec profile P\ncrypto ipsec profile P\n set transform-set T\n"
        "crypto isakmp key 0xNotHex address 192.0.2.1\n"
    ).files["swanctl.conf"]
    assert re.findall(r"secret = (.*)", made) == [f"0x{b'0xNotHex'.hex()}"]


def test_connections_that_no_tunnel_uses_are_left_where_they_are(tmp_path: Path) -> None:
    conf = tmp_path / "swanctl.conf"
    conf.write_text(
        "connections {\n  roadwarriors {\n  }\n  dmvpn {\n    children {\n      gre {\n      }\n    }\n  }\n}\n"
    )
    frr = tmp_path / "frr.conf"
    frr.write_text("interface gre1\n ip nhrp network-id 1\n tunnel protection vici profile dmvpn\n")
    result = imported(frr, conf)
    assert "roadwarriors" not in result.files["swanctl.conf"]
    assert "roadwarriors protects no tunnel" in result.report
    assert "was not in transport mode" in result.report


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("connections {\n  a {\n", "line 2: the brace that opens here is never closed"),
        ("connections {\n}\n}\n", "line 3: a brace closes what was not opened"),
        ('connections {\n  a {\n    x = "b\n  }\n}\n', "line 3: a quotation mark has no end"),
        ("connections {\n  {\n  }\n}\n", "line 2: a brace opens without a name"),
    ],
)
def test_a_swanctl_conf_that_is_not_whole_has_its_line(tmp_path, content, reason) -> None:
    conf = tmp_path / "swanctl.conf"
    conf.write_text(content)
    frr = tmp_path / "frr.conf"
    frr.write_text("interface gre1\n ip nhrp network-id 1\n")
    with pytest.raises(Exception, match=reason):
        imported(frr, conf)
