"""What IOS says of IPsec: words that are put together to connections of swanctl.conf at the end."""

from nhrpd_py.cli.importing import actions as do
from nhrpd_py.cli.importing.node import Secret
from nhrpd_py.cli.importing.rules import Action, Found, Place, Rule

CONNECTION = "the connection in swanctl.conf"
SECRETS = "`secrets` in swanctl.conf"
ENCRYPTED = (
    "The key is stored encrypted (type {kind}): write it in clear into the secrets of swanctl.conf."
)


def keep(key: str, word: str) -> Action:
    """Keeps words for the end."""

    def action(place: Place, found: Found) -> None:
        place.node.part(place.kind, place.subject).setdefault(key, []).append(found.get(word, ""))

    return action


def keep_general(key: str, word: str) -> Action:
    def action(place: Place, found: Found) -> None:
        place.node.part("isakmp", "").setdefault(key, []).append(found[word])

    return action


def _owner(found: Found) -> list[str]:
    """Whose key it is; a network or everybody stands for anybody, charon has no masks there."""
    owner = found.get("ADDRESS") or found.get("HOST") or ""
    mask = found.get("MASK", "255.255.255.255")
    if owner in ("", "0.0.0.0", "::/0") or mask not in ("255.255.255.255", "no-xauth"):  # noqa: S104
        return []
    return [owner]


def _key(place: Place, found: Found) -> None:
    kind = found.get("TYPE", "0")
    place.node.hidden.add(found["SECRET"])
    if kind != "0":
        place.refuse(ENCRYPTED.format(kind=kind))
        return
    place.node.secrets.append(Secret(do.unquoted(found["SECRET"]), _owner(found)))


def _typed(kind: str) -> Action:
    return lambda place, found: _key(place, {**found, "TYPE": kind})


def _peer(place: Place, found: Found) -> None:
    part = place.node.part(place.kind, place.subject)
    part["peer"] = [found["NAME"]]
    part["owner"] = []
    part.pop("key", None)


def _peer_owner(place: Place, found: Found) -> None:
    place.node.part(place.kind, place.subject)["owner"] = _owner(found)


def _peer_key(kind: str = "0") -> Action:
    def action(place: Place, found: Found) -> None:
        place.node.hidden.add(found["SECRET"])
        if kind != "0":
            place.refuse(ENCRYPTED.format(kind=kind))
            return
        part = place.node.part(place.kind, place.subject)
        secret = Secret(do.unquoted(found["SECRET"]), list(part.get("owner", [])))
        known = part.setdefault("key", [secret.key])
        if known != [secret.key]:
            place.refuse("The keys of the two directions differ; strongSwan has one for both.")
        elif secret not in place.node.secrets:
            place.node.secrets.append(secret)

    return action


def _profile_key(place: Place, found: Found) -> None:
    keep("remote-auth" if found["SIDE"] == "remote" else "local-auth", "KIND")(
        place, {"KIND": "pre-share"}
    )
    _key(place, found)


def _authentication(place: Place, found: Found) -> None:
    side = "remote-auth" if found["SIDE"] == "remote" else "local-auth"
    keep(side, "KIND")(place, found)


def _rules(block: str, becomes: str, *pairs: tuple[str, Action]) -> tuple[Rule, ...]:
    """Rules of one block; those that do nothing say so."""
    return tuple(
        Rule(
            command,
            "nothing: strongSwan needs no word for it" if action is do.nothing else becomes,
            action,
            block=block,
        )
        for command, action in pairs
    )


CRYPTO = (
    Rule("crypto isakmp key 6 SECRET REST", SECRETS, _typed("6"), documented=False),
    Rule("crypto isakmp key 7 SECRET REST", SECRETS, _typed("7"), documented=False),
    Rule(
        "crypto isakmp key 0 SECRET address ADDRESS [MASK] [no-xauth]",
        SECRETS,
        _key,
        documented=False,
    ),
    Rule("crypto isakmp key SECRET address ADDRESS [MASK] [no-xauth]", SECRETS, _key),
    Rule("crypto isakmp key SECRET hostname HOST", SECRETS, _key),
    Rule(
        "crypto isakmp keepalive NUMBER [REST]",
        "`dpd_delay` of " + CONNECTION,
        keep_general("dpd", "NUMBER"),
    ),
    Rule(
        "crypto isakmp invalid-spi-recovery",
        "nothing: nhrpd ends SAs that carry nothing",
        do.nothing,
    ),
    Rule("crypto isakmp nat keepalive NUMBER", "nothing: charon does so", do.nothing),
    Rule(
        "crypto ikev2 dpd NUMBER [REST]",
        "`dpd_delay`",
        keep_general("dpd", "NUMBER"),
        documented=False,
    ),
    *_rules(
        "isakmp policy",
        f"`proposals` of {CONNECTION} (IKEv1)",
        ("encr|encryption REST", keep("encryption", "REST")),
        ("hash NAME", keep("hash", "NAME")),
        ("authentication KIND", keep("authentication", "KIND")),
        ("group NUMBER", keep("group", "NUMBER")),
        ("lifetime NUMBER", keep("lifetime", "NUMBER")),
    ),
    *_rules(
        "keyring",
        SECRETS,
        ("pre-shared-key address ADDRESS key 6 SECRET", _typed("6")),
        ("pre-shared-key address ADDRESS [MASK] key 6 SECRET", _typed("6")),
        ("pre-shared-key address ADDRESS [MASK] key SECRET", _key),
        ("pre-shared-key hostname HOST key SECRET", _key),
    ),
    *_rules(
        "isakmp profile",
        CONNECTION,
        ("keyring NAME", do.nothing),
        ("match identity address REST", keep("match", "REST")),
        ("match identity host domain NAME", keep("domain", "NAME")),
        ("match identity host NAME", keep("host", "NAME")),
        ("self-identity fqdn NAME", keep("identity", "NAME")),
        ("self-identity address", do.nothing),
        ("ca trust-point NAME", keep("trustpoint", "NAME")),
        ("keepalive NUMBER [REST]", keep("dpd", "NUMBER")),
    ),
    *_rules(
        "transform-set", "`mode`: always transport", ("mode NAME [REST]", keep("mode", "NAME"))
    ),
    *_rules(
        "ipsec profile",
        f"the child of {CONNECTION}",
        ("set transform-set REST", keep("transform-set", "REST")),
        ("set pfs [NAME]", keep("pfs", "NAME")),
        ("set security-association lifetime seconds NUMBER", keep("lifetime", "NUMBER")),
        ("set security-association lifetime kilobytes REST", do.nothing),
        ("set security-association idle-time NUMBER [REST]", keep("idle", "NUMBER")),
        ("set isakmp-profile NAME", keep("isakmp-profile", "NAME")),
        ("set ikev2-profile NAME", keep("ikev2-profile", "NAME")),
        ("set security-policy limit NUMBER", do.nothing),
        ("set security-association replay REST", do.nothing),
    ),
    *_rules(
        "ikev2 proposal",
        f"`proposals` of {CONNECTION} (IKEv2)",
        ("encryption REST", keep("encryption", "REST")),
        ("integrity REST", keep("hash", "REST")),
        ("prf REST", keep("prf", "REST")),
        ("group REST", keep("group", "REST")),
    ),
    *_rules(
        "ikev2 policy",
        f"which `proposals` {CONNECTION} has",
        ("proposal REST", keep("proposal", "REST")),
        ("match REST", do.nothing),
    ),
    *_rules(
        "ikev2 keyring",
        SECRETS,
        ("peer NAME", _peer),
        ("address ADDRESS [MASK]", _peer_owner),
        ("hostname HOST", _peer_owner),
        ("identity address ADDRESS", _peer_owner),
        ("identity fqdn HOST", _peer_owner),
        ("pre-shared-key local|remote 6 SECRET", _peer_key("6")),
        ("pre-shared-key 6 SECRET", _peer_key("6")),
        ("pre-shared-key local|remote SECRET", _peer_key()),
        ("pre-shared-key SECRET", _peer_key()),
        ("description REST", do.nothing),
    ),
    *_rules(
        "ikev2 profile",
        CONNECTION,
        ("match identity remote address REST", keep("match", "REST")),
        ("match identity remote fqdn domain NAME", keep("domain", "NAME")),
        ("match identity remote fqdn NAME", keep("host", "NAME")),
        ("match identity remote any", do.nothing),
        ("match address REST", do.nothing),
        ("match fvrf any", do.nothing),
        ("identity local fqdn NAME", keep("identity", "NAME")),
        ("identity local address NAME", keep("identity", "NAME")),
        ("identity local email NAME", keep("identity", "NAME")),
        ("identity local dn", keep("dn", "NAME")),
        ("authentication SIDE pre-share key SECRET", _profile_key),
        ("authentication SIDE KIND", _authentication),
        ("keyring local NAME", do.nothing),
        ("keyring NAME", do.nothing),
        ("pki trustpoint NAME [REST]", keep("trustpoint", "NAME")),
        ("dpd NUMBER [REST]", keep("dpd", "NUMBER")),
        ("lifetime NUMBER", keep("lifetime", "NUMBER")),
    ),
    *(
        Rule(
            command,
            "`vrf`: another VRF",
            do.nothing,
            block=block,
            needs="vrf",
            documented=False,
        )
        for command, block in (
            ("match fvrf NAME", "ikev2 profile"),
            ("vrf NAME", "isakmp profile"),
            ("ivrf NAME", "ikev2 profile"),
        )
    ),
)
