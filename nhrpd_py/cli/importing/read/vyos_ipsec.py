"""Puts VyOS's profiles and groups together to connections of swanctl.conf."""

from nhrpd_py.cli.importing.connection import GROUPS, Wanted, add, connection_name, proposal
from nhrpd_py.cli.importing.node import Node, Secret, Setting

DEFAULT_IKE_LIFETIME_S = "28800"
DEFAULT_ESP_LIFETIME_S = "3600"


def connections(node: Node) -> None:
    """Makes a connection for each profile that is bound to a tunnel."""
    for (kind, profile), part in list(node.parts.items()):
        if kind != "profile":
            continue
        bound = [node.tunnels[name] for name in part.get("tunnel", []) if name in node.tunnels]
        if not bound:
            node.note(f"The profile {profile} of `vpn ipsec` protects no tunnel that speaks NHRP.")
            continue
        name = connection_name(profile)
        for tunnel in bound:
            tunnel.profile = Setting(name, "vpn ipsec profile, bind tunnel")
        wanted = Wanted()
        _esp(node, part.get("esp", [""])[-1], wanted)
        _ike(node, part.get("ike", [""])[-1], wanted)
        add(node, name, wanted)
        if "secret" in part:
            node.secrets.append(Secret(part["secret"][-1], []))
        else:
            node.connections[name].remarks.append("The profile has no pre-shared-secret.")


def _esp(node: Node, group: str, wanted: Wanted) -> None:
    general = node.parts.get(("esp", group), {})
    pfs = general.get("pfs", ["enable"])[-1]
    ike_group = ""
    if pfs not in ("enable", "disable"):
        ike_group = GROUPS.get(pfs.removeprefix("dh-group"), "")
    for part in _proposals(node, "esp", group):
        if pfs == "enable":  # VyOS takes the group of IKE
            ike = node.parts.get(("profile", _profile_with(node, group)), {}).get("ike", [""])[-1]
            first = next(iter(_proposals(node, "ike", ike)), {})
            ike_group = GROUPS.get(first.get("group", [""])[-1], "")
        wanted.esp_proposals.append(
            proposal(
                part.get("encryption", ["aes128"])[-1],
                part.get("hash", ["sha1"])[-1],
                ike_group,
                ike=False,
            )
        )
    wanted.child_rekey_s = general.get("lifetime", [DEFAULT_ESP_LIFETIME_S])[-1]
    if general.get("mode", ["transport"])[-1] != "transport":
        wanted.remarks.append(
            f"esp-group {group} names tunnel mode; VyOS protects GRE in transport mode, and so does nhrpd."
        )


def _profile_with(node: Node, esp: str) -> str:
    return next(
        name
        for (kind, name), part in node.parts.items()
        if kind == "profile" and part.get("esp", [""])[-1] == esp
    )


def _ike(node: Node, group: str, wanted: Wanted) -> None:
    general = node.parts.get(("ike", group), {})
    wanted.version = {"ikev1": "1", "ikev2": "2"}.get(general.get("version", [""])[-1], "0")
    for part in _proposals(node, "ike", group):
        wanted.proposals.append(
            proposal(
                part.get("encryption", ["aes128"])[-1],
                part.get("hash", ["sha1"])[-1],
                GROUPS.get(part.get("group", ["2"])[-1], "modp2048"),
                prf=part.get("prf", [""])[-1],
                ike=True,
            )
        )
    wanted.rekey_s = general.get("lifetime", [DEFAULT_IKE_LIFETIME_S])[-1]
    wanted.dpd_s = general.get("dpd", ["15"])[-1]


def _proposals(node: Node, kind: str, group: str) -> list[dict[str, list[str]]]:
    """Returns the proposals of a group, in the order of their numbers."""
    numbered = [
        (name.partition("/")[2], part)
        for (each, name), part in node.parts.items()
        if each == kind and name.startswith(f"{group}/")
    ]
    return [part for _, part in sorted(numbered, key=lambda pair: (len(pair[0]), pair[0]))]
