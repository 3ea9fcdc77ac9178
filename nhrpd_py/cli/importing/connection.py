"""Connections of swanctl.conf, as they protect a DMVPN, from what other systems say of IKE and ESP."""

from dataclasses import dataclass, field

from nhrpd_py.cli.importing.node import Connection, Node, Section

GROUPS = {
    "1": "modp768",
    "2": "modp1024",
    "5": "modp1536",
    "14": "modp2048",
    "15": "modp3072",
    "16": "modp4096",
    "17": "modp6144",
    "18": "modp8192",
    "19": "ecp256",
    "20": "ecp384",
    "21": "ecp521",
    "22": "modp1024s160",
    "23": "modp2048s224",
    "24": "modp2048s256",
    "25": "ecp192",
    "26": "ecp224",
    "27": "ecp224bp",
    "28": "ecp256bp",
    "29": "ecp384bp",
    "30": "ecp512bp",
    "31": "curve25519",
    "32": "curve448",
}
"""Number of a Diffie-Hellman group (IANA) → strongSwan's name."""
WEAK = ("des", "3des", "md5", "modp768", "modp1024", "modp1536", "modp1024s160")
CHILD: Section = {
    "local_ts": "dynamic[gre]",
    "remote_ts": "dynamic[gre]",
    "inactivity": "90m",
    "mode": "transport",
    "mark_in": "%unique",
    "set_mark_in": "%same",
}
"""What every child has: the outer addresses and GRE alone, and marks for source-filter."""


@dataclass(slots=True)
class Wanted:
    """What another system says of one connection."""

    version: str = "2"
    proposals: list[str] = field(default_factory=list)
    esp_proposals: list[str] = field(default_factory=list)
    by_key: bool = True
    """Both ends prove who they are with a pre-shared key; else with certificates."""
    local_id: str = ""
    remote_id: str = ""
    dpd_s: str = "15"
    rekey_s: str = ""
    child_rekey_s: str = ""
    idle_s: str = ""
    remarks: list[str] = field(default_factory=list)


def is_aead(encryption: str) -> bool:
    return any(word in encryption for word in ("gcm", "ccm", "chacha"))


def proposal(encryption: str, integrity: str, group: str, *, prf: str = "", ike: bool) -> str:
    """Writes a proposal as strongSwan does. With IKE a cipher that protects itself needs a function
    for keys beside it."""
    parts = [encryption]
    if is_aead(encryption):
        if ike:
            parts.append(prf or f"prf{integrity or 'sha256'}")
    else:
        parts.append(integrity or "sha1")
        if ike and prf:
            parts.append(prf)
    if group:
        parts.append(group)
    return "-".join(parts)


def add(node: Node, name: str, wanted: Wanted) -> None:
    """Adds a connection."""
    auth = "psk" if wanted.by_key else "pubkey"
    local: Section = {"auth": auth}
    remote: Section = {"auth": auth}
    if wanted.local_id:
        local["id"] = wanted.local_id
    if wanted.remote_id:
        remote["id"] = wanted.remote_id
    child: Section = {}
    if wanted.esp_proposals:
        child["esp_proposals"] = ",".join(dict.fromkeys(wanted.esp_proposals))
    child |= CHILD
    if wanted.idle_s:
        child["inactivity"] = f"{wanted.idle_s}s"
    if wanted.child_rekey_s:
        child["rekey_time"] = f"{wanted.child_rekey_s}s"
    section: Section = {
        "version": wanted.version,
        "mobike": "no",
        "dpd_delay": wanted.dpd_s,
        "fragmentation": "yes",
        "unique": "replace",
    }
    if wanted.rekey_s:
        section["rekey_time"] = f"{wanted.rekey_s}s"
    if wanted.proposals:
        section["proposals"] = ",".join(dict.fromkeys(wanted.proposals))
    section |= {"local": local, "remote": remote, "children": {name: child}}
    remarks = list(wanted.remarks)
    weak = sorted(
        {
            part
            for text in (*wanted.proposals, *wanted.esp_proposals)
            for part in text.split("-")
            if part in WEAK
        }
    )
    if weak:
        remarks.append(
            f"Weak by today's measure, and kept because the other ends have it: {', '.join(weak)}."
        )
    if not wanted.proposals:
        remarks.append("No proposals are named: strongSwan's defaults count.")
    if not wanted.by_key:
        remarks.append(
            "Put this node's certificate into /etc/swanctl/x509 and its key into /etc/swanctl/private; the "
            "authority's certificate into /etc/swanctl/x509ca."
        )
    node.connections[name] = Connection(name, section, remarks)


def connection_name(text: str) -> str:
    """Returns a name that swanctl.conf takes for a section."""
    plain = "".join(
        c if c.isascii() and c.isprintable() and c not in '{}#=:,." \\/' else "-" for c in text
    )
    return plain[:64] or "dmvpn"
