"""What other systems do without being told, and nhrpd does otherwise: it is written out."""

from dataclasses import dataclass

from nhrpd_py.cli.importing.node import Setting, Tunnel, Value


@dataclass(frozen=True, slots=True)
class Default:
    """A setting that a system has by default, and nhrpd has not."""

    key: str
    value: Value
    remark: str
    spokes_only: bool = False


HOLDING_TIME_S = 7200
NAMES = {
    "frr": "FRR",
    "quagga": "Quagga",
    "opennhrp": "OpenNHRP",
    "vyos": "VyOS",
    "ios": "Cisco IOS",
}
DEFAULTS = (
    Default("holding-time", HOLDING_TIME_S, "{system}'s default; without this line: 600"),
    Default(
        "unique",
        value=True,
        remark="{system}'s default; without this line: false",
        spokes_only=True,
    ),
)
OF_SYSTEM = {
    "ios": (
        Default(
            "holding-time",
            HOLDING_TIME_S,
            "{system}'s default (see show running-config all); without this line: 600",
        ),
    ),
    "frr": (
        Default(
            "unique",
            value=True,
            remark="{system}'s default, which its hubs do not enforce, and nhrpd's do; without this line: false",
            spokes_only=True,
        ),
    ),
}
"""System → defaults that come before those of all."""
DIFFERENCES = {
    "registration": "Registrations are renewed after a third of holding-time, as there.",
    "nat": "NAT: nothing to set. Clients behind NAT are known by the address that their packets come from.",
    "path-check": "Shortcuts are used once packets are known to go both ways, and checked every 3 s (path-check); "
    "peers of other systems answer without knowing it.",
    "claims": "Peers are believed only what fits: to name the cloud's tunnel addresses, "
    'overlay = ["10.255.255.0/24"]; with IPsec, [[interface.NAME.authorize]] says who may have which.',
}
"""Comments at the head of each tunnel's table."""


def write_out(tunnel: Tunnel, system: str) -> None:
    """Adds the settings that the other system has without a line for them."""
    for default in (*OF_SYSTEM.get(system, ()), *DEFAULTS):
        if default.key in tunnel.settings or (default.spokes_only and tunnel.is_hub):
            continue
        remark = default.remark.format(system=NAMES[system])
        tunnel.settings[default.key] = Setting(default.value, remark)
    holding = tunnel.settings["holding-time"].value
    if isinstance(holding, int) and holding > HOLDING_TIME_S:
        tunnel.settings["max-holding-time"] = Setting(
            holding, "peers get as much as we have; without this line: 7200"
        )
    if system == "ios" and tunnel.is_hub and "shortcut" not in tunnel.settings:
        tunnel.settings["shortcut"] = Setting(
            value=True, remark="not set there: a router answers for what is behind it without it"
        )
    for key, remark in (
        (
            "shortcut",
            "not set there: no direct ways are taken, and no requests answered for what is behind us",
        ),
        ("redirect", "not set there: nobody is told of a direct way"),
    ):
        tunnel.settings.setdefault(key, Setting(value=False, remark=remark))
