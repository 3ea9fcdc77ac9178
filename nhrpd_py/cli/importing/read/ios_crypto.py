"""Puts IOS's crypto policies, transform sets and profiles together to connections of swanctl.conf."""

from nhrpd_py.cli.importing.connection import GROUPS, Wanted, add, connection_name, proposal
from nhrpd_py.cli.importing.node import Node, Setting

IKE_CIPHERS = {
    "des": "des",
    "3des": "3des",
    "aes": "aes128",
    "aes 128": "aes128",
    "aes 192": "aes192",
    "aes 256": "aes256",
    "aes-cbc-128": "aes128",
    "aes-cbc-192": "aes192",
    "aes-cbc-256": "aes256",
    "aes-gcm-128": "aes128gcm16",
    "aes-gcm-256": "aes256gcm16",
}
HASHES = {
    "md5": "md5",
    "sha": "sha1",
    "sha1": "sha1",
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
}
ESP_CIPHERS = {
    "esp-des": "des",
    "esp-3des": "3des",
    "esp-aes": "aes128",
    "esp-aes 128": "aes128",
    "esp-aes 192": "aes192",
    "esp-aes 256": "aes256",
    "esp-gcm": "aes128gcm16",
    "esp-gcm 128": "aes128gcm16",
    "esp-gcm 192": "aes192gcm16",
    "esp-gcm 256": "aes256gcm16",
    "esp-null": "null",
}
ESP_HASHES = {
    "esp-md5-hmac": "md5",
    "esp-sha-hmac": "sha1",
    "esp-sha256-hmac": "sha256",
    "esp-sha384-hmac": "sha384",
    "esp-sha512-hmac": "sha512",
}
SIGNATURES = ("rsa-sig", "ecdsa-sig", "rsa-encr")


def connections(node: Node) -> None:
    """Makes a connection for each profile that protects a tunnel."""
    for tunnel in node.speakers:
        if tunnel.profile is None:
            continue
        foreign = str(tunnel.profile.value)
        name = connection_name(foreign)
        remark = tunnel.profile.remark
        tunnel.profile = Setting(name, remark if name == foreign else f"{remark}; there: {foreign}")
        if name not in node.connections:
            add(node, name, _wanted(node, foreign))


def _wanted(node: Node, name: str) -> Wanted:
    profile = node.parts.get(("ipsec profile", name))
    wanted = Wanted()
    if profile is None:
        wanted.version = "0"
        wanted.remarks.append(
            f"The configuration has no `crypto ipsec profile {name}`: complete the connection by hand."
        )
        return wanted
    ikev2 = profile.get("ikev2-profile", [])
    if ikev2:
        _ikev2(node, ikev2[0], wanted)
    else:
        _ikev1(node, profile.get("isakmp-profile", [""])[0], wanted)
    _esp(node, profile, wanted)
    return wanted


def _esp(node: Node, profile: dict[str, list[str]], wanted: Wanted) -> None:
    pfs = profile.get("pfs", [])
    group = ""
    if pfs:
        group = GROUPS.get((pfs[-1] or "group1").removeprefix("group"), "modp1024")
    for name in " ".join(profile.get("transform-set", [])).split():
        transform = node.parts.get(("transform-set", name), {})
        found = _esp_proposal(transform.get("algorithms", []), group)
        if found is None:
            wanted.remarks.append(f"The transform set {name} is not known, or has no cipher.")
        else:
            wanted.esp_proposals.append(found)
        if transform.get("mode", ["tunnel"])[-1] != "transport":
            wanted.remarks.append(
                f"The transform set {name} is for tunnel mode; nhrpd protects GRE in transport mode: have the "
                "routers offer it as well (mode transport)."
            )
    wanted.child_rekey_s = profile.get("lifetime", [""])[-1]
    wanted.idle_s = profile.get("idle", [""])[-1]


def _esp_proposal(words: list[str], group: str) -> str | None:
    cipher = integrity = ""
    for at, word in enumerate(words):
        sized = f"{word} {words[at + 1]}" if at + 1 < len(words) else word
        cipher = ESP_CIPHERS.get(sized) or ESP_CIPHERS.get(word) or cipher
        integrity = ESP_HASHES.get(word, integrity)
    return proposal(cipher, integrity, group, ike=False) if cipher else None


def _ikev1(node: Node, profile: str, wanted: Wanted) -> None:
    """IOS tries its policies in the order of their numbers."""
    wanted.version = "1"
    policies = sorted(
        (int(name), part) for (kind, name), part in node.parts.items() if kind == "isakmp policy"
    )
    signed = []
    for _, part in policies:
        cipher = IKE_CIPHERS.get(part.get("encryption", ["des"])[-1], "aes128")
        integrity = HASHES.get(part.get("hash", ["sha"])[-1], "sha1")
        group = GROUPS.get(part.get("group", ["1"])[-1], "modp2048")
        wanted.proposals.append(proposal(cipher, integrity, group, ike=True))
        signed.append(part.get("authentication", ["rsa-sig"])[-1] in SIGNATURES)
        wanted.rekey_s = wanted.rekey_s or part.get("lifetime", [""])[-1]
    wanted.by_key = not signed or not all(signed)
    general = node.parts.get(("isakmp", ""), {})
    part = node.parts.get(("isakmp profile", profile), {})
    wanted.dpd_s = part.get("dpd", general.get("dpd", ["15"]))[-1]
    _identities(part, wanted)


def _ikev2(node: Node, name: str, wanted: Wanted) -> None:
    part = node.parts.get(("ikev2 profile", name), {})
    if not part:
        wanted.remarks.append(f"The configuration has no `crypto ikev2 profile {name}`.")
    named = " ".join(
        word
        for (kind, _), policy in node.parts.items()
        if kind == "ikev2 policy"
        for word in policy.get("proposal", [])
    ).split()
    for (kind, each), offered in node.parts.items():
        if kind == "ikev2 proposal" and (not named or each in named):
            wanted.proposals += _ikev2_proposals(offered)
    kinds = part.get("local-auth", []) + part.get("remote-auth", [])
    wanted.by_key = not any(kind in SIGNATURES for kind in kinds)
    wanted.dpd_s = part.get("dpd", node.parts.get(("isakmp", ""), {}).get("dpd", ["15"]))[-1]
    wanted.rekey_s = part.get("lifetime", [""])[-1]
    _identities(part, wanted)


def _ikev2_proposals(part: dict[str, list[str]]) -> list[str]:
    ciphers = " ".join(part.get("encryption", ["aes-cbc-256"])).split()
    hashes = " ".join(part.get("hash", [])).split()
    groups = " ".join(part.get("group", ["14"])).split()
    prfs = " ".join(part.get("prf", [])).split()
    prf = f"prf{HASHES.get(prfs[0], 'sha256')}" if prfs else ""
    return [
        proposal(
            IKE_CIPHERS.get(cipher, "aes256"),
            HASHES.get(integrity, ""),
            GROUPS.get(group, "modp2048"),
            prf=prf,
            ike=True,
        )
        for cipher in ciphers
        for integrity in hashes or [""]
        for group in groups
    ]


def _identities(part: dict[str, list[str]], wanted: Wanted) -> None:
    wanted.local_id = part.get("identity", [""])[-1]
    if "host" in part:
        wanted.remote_id = part["host"][-1]
    elif "domain" in part:
        wanted.remote_id = f"*.{part['domain'][-1].lstrip('.')}"
    if "trustpoint" in part:
        wanted.remarks.append(
            f"The router's trustpoint is {part['trustpoint'][-1]}: its certificate and key are needed here."
        )
    if "dn" in part:
        wanted.remarks.append("The router's identity is the subject of its certificate.")
