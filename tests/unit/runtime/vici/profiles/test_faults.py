"""Profiles that the configuration names and that do not exist, or cannot be used."""

from dataclasses import replace
from typing import Any

import pytest

from nhrpd_py.core.config import Config, InterfaceConfig, IpsecConfig
from nhrpd_py.runtime.vici.profiles.profiles import faults_of
from nhrpd_py.runtime.vici.profiles.swanctl import SwanctlConf

CHILD = {"mode": b"transport", "local_ts": [b"dynamic[gre]"], "remote_ts": [b"dynamic[gre]"]}
GOOD: dict[str, Any] = {"children": {"dmvpn": CHILD}, "remote": {"auth": b"pubkey"}}
TUNNEL_MODE: dict[str, Any] = {"children": {"dmvpn": {**CHILD, "mode": b"tunnel"}}}


def a_config(profile: str | None, fallback: str | None = None, **profiles: Any) -> Config:
    ipsec = IpsecConfig(profile=profile, fallback_profile=fallback) if profile else None
    interface = InterfaceConfig(name="gre1", network_id=1, ipsec=ipsec)
    return replace(Config(interfaces={"gre1": interface}), profiles=profiles)


async def faults(config: Config, swanctl: SwanctlConf) -> list[str]:
    class Source:
        path = "/etc/swanctl/swanctl.conf"

        async def get(self) -> SwanctlConf:
            return swanctl

    return await faults_of(config, lambda _config: Source())


async def test_each_is_named_with_the_path_of_its_setting() -> None:
    found = await faults(a_config("dmvpnx", "psk"), SwanctlConf({"dmvpn": GOOD}))
    assert found == [
        (
            "interface.gre1.ipsec.profile: profile dmvpnx: no such connection in "
            "/etc/swanctl/swanctl.conf (it has: dmvpn)"
        ),
        (
            "interface.gre1.ipsec.fallback-profile: profile psk: no such connection in "
            "/etc/swanctl/swanctl.conf (it has: dmvpn)"
        ),
    ]


async def test_one_that_cannot_be_used_is_a_fault_too() -> None:
    (found,) = await faults(a_config("dmvpn"), SwanctlConf({"dmvpn": TUNNEL_MODE}))
    assert found.startswith("interface.gre1.ipsec.profile: connection dmvpn of /etc/swanctl")
    assert found.endswith("needs mode = transport, not tunnel")


@pytest.mark.parametrize(
    ("config", "swanctl"),
    [
        (a_config("dmvpn"), SwanctlConf({"dmvpn": GOOD})),
        (a_config("dmvpn"), SwanctlConf({"dmvpn": GOOD}, "another connection is wrong")),
        (a_config("dmvpn"), SwanctlConf(problem="no command swanctl")),
        (a_config("dmvpn"), SwanctlConf({"other": GOOD}, "a file cannot be read")),
        (a_config(None), SwanctlConf()),
    ],
)
async def test_what_is_there_or_cannot_be_known_is_no_fault(config, swanctl) -> None:
    assert await faults(config, swanctl) == []
