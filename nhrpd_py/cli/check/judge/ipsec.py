"""Checks of strongSwan and of the profiles that nhrpd takes from it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nhrpd_py.cli.check.facts import Certificate, CharonFacts, Facts
from nhrpd_py.cli.check.findings import Area, Finding, Unread
from nhrpd_py.cli.check.parse.x509 import NotX509Error, read_certificate
from nhrpd_py.core.config import AuthorizeConfig, InterfaceConfig
from nhrpd_py.runtime.vici.profiles.profile import RESPONDER_CONNECTION

AREA = "ipsec"
SOON_S = 30 * 86400
"""How long before it expires a certificate is worth a warning."""
IKE_PORTS = (500, 4500)
DYNAMIC = ("dynamic[gre]", "dynamic[47]")
GRE_ALONE = ("[gre]", "[47]")
"""The ends of selectors of GRE and nothing else."""
ANYBODY = ("", "%any")
ANY_ADDRESS = frozenset(("%any", "%any4", "0.0.0.0", "0.0.0.0/0"))  # noqa: S104 (no bind)
WITHOUT_CERTIFICATE = ("psk", "eap", "xauth")
"""Beginnings of the ways to authenticate ourselves that need none."""
YES = ("yes", "true", "1", "enabled")

Section = Mapping[str, Any]


def check(facts: Facts) -> Iterator[Finding]:
    """Yields all findings of the area `ipsec`."""
    charon = facts.charon
    if charon is None:
        return
    yield from _charon(facts, charon)
    yield from _template(facts, charon)
    seen: dict[str, None] = {}
    for config in facts.config.interfaces.values():
        if config.ipsec is None:
            continue
        yield _rules(facts, config)
        for name in (config.ipsec.profile, config.ipsec.fallback_profile):
            if name is not None and name not in seen:
                seen[name] = None
                yield from _profile(facts, charon, config, name)
    yield from _authorities(facts, charon)


def _charon(facts: Facts, charon: CharonFacts) -> Iterator[Finding]:
    area = Area(AREA, "charon")
    if isinstance(charon.version, Unread):
        missing = charon.version
        if missing.remedy is None:
            yield area.unread(missing)
        else:
            yield area.problem(missing.why, missing.remedy)
        return
    kind = "patched for DMVPN" if charon.patched else "a stock one"
    yield area.ok(f"strongSwan {charon.version} answers ({kind})")
    if charon.closed_to_daemon is not None:
        path = facts.config.vici.socket
        yield area.problem(
            f"nhrpd may not use {path}: {charon.closed_to_daemon}",
            f"chown nhrpd {path}   # at each start: systemd/install, then "
            "systemctl restart strongswan",
        )
    ports = facts.kernel.udp_ports
    if isinstance(ports, Unread):
        yield area.unread(ports)
        return
    closed = [port for port in IKE_PORTS if port not in ports]
    if closed:
        yield area.problem(
            f"nobody has bound UDP {' and '.join(map(str, closed))}: peers cannot reach charon",
            "charon { port = 500  port_nat_t = 4500 } in /etc/strongswan.conf, "
            "then systemctl restart strongswan",
        )
    else:
        yield area.ok("UDP 500 and 4500 are bound")


def _rules(facts: Facts, config: InterfaceConfig) -> Finding:
    """Tells whether anything says who may claim what on a protected tunnel."""
    area = Area(AREA, config.name)
    if config.authorize.certificate:
        return area.ok("certificates say who may claim what")
    if config.authorize == AuthorizeConfig():
        return area.warning(
            "no rules: every peer that IKE lets in may have any free tunnel address and any network",
            f'[[interface.{config.name}.authorize]] identity = "…"  protocol = ["…"]  '
            f'prefixes = ["…"] in {facts.file}, one for each peer',
        )
    return area.ok("rules say who may claim what")


# --- profiles -------------------------------------------------------------------------------------


def goes_in_udp(facts: Facts, name: str) -> bool:
    """Tells whether a profile has all its ESP in UDP (`encap = yes`)."""
    charon = facts.charon
    if charon is None:
        return False
    template = {} if isinstance(charon.template, Unread) else charon.template
    connection = charon.own.get(name) or template.get(name, {})
    return not isinstance(connection, Unread) and _text(connection, "encap") in YES


def _template(facts: Facts, charon: CharonFacts) -> Iterator[Finding]:
    file = facts.config.vici.swanctl_config
    area = Area(AREA, Path(file).name)
    if isinstance(charon.template, Unread):
        if charon.template.remedy is None:
            yield area.unread(charon.template)
        else:
            yield area.problem(charon.template.why, charon.template.remedy)
        return
    wanted = {each.ipsec.profile for each in facts.config.interfaces.values() if each.ipsec}
    there = wanted <= charon.template.keys() | charon.own.keys()
    tell = area.warning if there else area.problem
    for line in charon.template_problems:
        yield tell(line, f"mend it in {file}, then: swanctl --load-all")


def _profile(
    facts: Facts, charon: CharonFacts, config: InterfaceConfig, name: str
) -> Iterator[Finding]:
    area = Area(AREA, f"profile {name}")
    file = facts.config.vici.swanctl_config
    ours = charon.own.get(name)
    if isinstance(ours, Unread):
        yield area.problem(ours.why, f"mend [profile.{name}] in {facts.file}")
        return
    if ours is not None:
        connection: Section = ours
        file = facts.file
    elif isinstance(charon.template, Unread):
        return
    else:
        connection = charon.template.get(name, {})
        if not connection:
            others = ", ".join(sorted(charon.template)) or "none"
            yield area.problem(
                f"{file} has no usable connection of this name (it has: {others})",
                f'profile = "{next(iter(charon.template), "NAME")}" under '
                f"[interface.{config.name}.ipsec] in {facts.file}",
            )
            return
    children = _section(connection, "children")
    child = children.get(name)
    if child is None and len(children) == 1:
        (child,) = children.values()
    if not isinstance(child, Mapping):
        has = ", ".join(children) or "none"
        yield area.problem(
            f"it needs a child named {name}, or one alone (it has: {has})",
            f"children {{ {name} {{ … }} }} in the connection {name} in {file}",
        )
        return
    yield from _child(area, child, file)
    if ours is None:
        yield from _loaded(facts, area, charon, connection)
    yield from _local(facts, charon, area, connection)
    yield _remote(area, config, connection, file)


def _child(area: Area, child: Section, file: str) -> Iterator[Finding]:
    load = f"in the child in {file}, then: swanctl --load-conns"
    mode = _text(child, "mode") or "tunnel"
    if mode != "transport":
        yield area.problem(f"its child has the mode {mode}", f"mode = transport   # {load}")
    else:
        yield area.ok("its child has the mode transport")
    for key in ("local_ts", "remote_ts"):
        found = _texts(child, key)
        if not found or not all(each.endswith(GRE_ALONE) for each in found):
            yield area.problem(
                f"its child's {key} is {', '.join(found) or 'not there'}: not GRE alone",
                f"{key} = dynamic[gre]   # {load}",
            )
        elif any(each not in DYNAMIC for each in found):
            yield area.warning(
                f"its child's {key} is {', '.join(found)}: only transport mode makes one host of it",
                f"{key} = dynamic[gre]   # {load}",
            )


def _loaded(
    facts: Facts, area: Area, charon: CharonFacts, connection: Section
) -> Iterator[Finding]:
    if isinstance(charon.version, Unread):
        return
    name = area.subject.removeprefix("profile ")
    wanted = _texts(connection, "remote_addrs")
    if name not in charon.loaded:
        yield area.problem(
            "charon does not have it loaded: peers that call get no answer", "swanctl --load-all"
        )
    elif not wanted or ANY_ADDRESS & set(wanted):
        yield area.ok("charon has it loaded, and answers peers")
    elif f"{RESPONDER_CONNECTION}{name}" in charon.loaded:
        yield area.ok("charon has it loaded; a connection of nhrpd's answers all peers")
    else:
        yield area.problem(
            f"its remote_addrs is {', '.join(wanted)}, and nothing answers other peers",
            f"systemctl restart {facts.unit}   # it loads {RESPONDER_CONNECTION}{name}; "
            "or remote_addrs = %any",
        )


def _remote(area: Area, config: InterfaceConfig, connection: Section, file: str) -> Finding:
    """Tells whom a profile accepts. An exact name does not fit a spoke, which meets other spokes."""
    remote = _part(connection, "remote")
    identity = _text(remote, "id")
    if identity in ANYBODY:
        who = "anybody whom the authorities vouch for"
        if _text(remote, "auth") == "psk":
            who = "anybody who knows the secret"
        return area.ok(f"it accepts {who}; narrower: remote {{ id = *.DOMAIN }} in {file}")
    if "*" not in identity and config.shortcut and config.nhs:
        return area.ok(f"it accepts {identity} alone; nhrpd meets other spokes without that demand")
    return area.ok(f"it accepts {identity}")


# --- certificates ---------------------------------------------------------------------------------


def _local(facts: Facts, charon: CharonFacts, area: Area, connection: Section) -> Iterator[Finding]:
    local = _part(connection, "local")
    if _text(local, "auth").startswith(WITHOUT_CERTIFICATE) or _raw(local, "pubkeys"):
        return
    certificates = [each for each in _raw(local, "certs") if isinstance(each, bytes)]
    if not certificates and charon.own_with_key:
        yield area.ok("it names no certificate: charon takes the one that has its id")
    elif not certificates and not isinstance(charon.version, Unread):
        yield area.problem(
            "it has no certificate of ours",
            f"certs = FILE   # under local in {facts.config.vici.swanctl_config}; "
            "FILE in /etc/swanctl/x509",
        )
    for data in certificates:
        try:
            found = read_certificate(data)
        except NotX509Error as error:
            yield area.problem(f"its certificate cannot be read: {error}", "pki --print --in FILE")
            continue
        file = charon.files.get(found.der)
        subject = Area(AREA, Path(file).name if file else "certificate")
        yield from _dates(
            facts,
            subject,
            found,
            "pki --issue … (same key, same --san), put it in place of "
            f"{file or 'the old one'}, then: swanctl --load-all",
        )
        if isinstance(charon.version, Unread):
            continue
        if not charon.private_keys or (
            charon.own_with_key and found.der not in charon.own_with_key
        ):
            yield subject.problem(
                "charon does not have its private key",
                "put it in /etc/swanctl/private (or ecdsa, rsa), then: swanctl --load-creds",
            )
        else:
            yield subject.ok("charon has its private key")


def _authorities(facts: Facts, charon: CharonFacts) -> Iterator[Finding]:
    if isinstance(charon.version, Unread):
        return
    if not charon.authorities and _certificates_used(facts, charon):
        yield Area(AREA, "authorities").problem(
            "charon has no certificate of an authority: it can believe no peer",
            "put it in /etc/swanctl/x509ca, then: swanctl --load-creds",
        )
    for each in charon.authorities:
        remedy = "a new CA certificate to /etc/swanctl/x509ca on all nodes, swanctl --load-creds"
        yield from _dates(facts, Area(AREA, f"CA {each.name}"), each, remedy)
    for each in charon.revocations:
        area = Area(AREA, f"CRL of {each.name}")
        if each.not_after is not None and each.not_after <= facts.now:
            yield area.warning(
                f"a newer one was due on {_day(each.not_after)}: revocations since are unknown here",
                "pki --signcrl --lastcrl OLD … > NEW, put NEW in place of OLD in "
                "/etc/swanctl/x509crl, then: swanctl --load-creds",
            )
        else:
            yield area.ok("it is current")


def _certificates_used(facts: Facts, charon: CharonFacts) -> bool:
    template = {} if isinstance(charon.template, Unread) else charon.template
    for config in facts.config.interfaces.values():
        if config.ipsec is not None:
            name = config.ipsec.profile
            own = charon.own.get(name)
            connection = template.get(name, {}) if own is None else own
            if (
                not isinstance(connection, Unread)
                and connection
                and _text(_part(connection, "remote"), "auth") != "psk"
            ):
                return True
    return False


def _dates(facts: Facts, area: Area, certificate: Certificate, remedy: str) -> Iterator[Finding]:
    if facts.now < certificate.not_before:
        yield area.problem(
            f"it is not valid before {_day(certificate.not_before)}, and the clock says "
            f"{_day(facts.now)}",
            "date   # is it right? else: timedatectl set-ntp true",
        )
    elif certificate.not_after is not None and facts.now >= certificate.not_after:
        yield area.problem(f"it expired on {_day(certificate.not_after)}", remedy)
    elif certificate.not_after is not None and facts.now >= certificate.not_after - SOON_S:
        yield area.warning(f"it expires on {_day(certificate.not_after)}", remedy)
    elif certificate.not_after is not None:
        yield area.ok(f"it is valid until {_day(certificate.not_after)}")


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


# --- reading sections -----------------------------------------------------------------------------


def _section(section: Section, key: str) -> Section:
    found = section.get(key)
    return found if isinstance(found, Mapping) else {}


def _part(connection: Section, kind: str) -> Section:
    """Returns the first section `local` or `remote`; there may be several: `local-1`, `local-2`…"""
    for key, value in connection.items():
        if key.startswith(kind) and isinstance(value, Mapping):
            return value
    return {}


def _raw(section: Section, key: str) -> Sequence[Any]:
    found = section.get(key, ())
    return found if isinstance(found, list | tuple) else (found,)


def _text(section: Section, key: str) -> str:
    return next(iter(_texts(section, key)), "")


def _texts(section: Section, key: str) -> list[str]:
    """Returns the values of a key as text; swanctl sends octets."""
    return [
        each.decode(errors="replace") if isinstance(each, bytes) else str(each)
        for each in _raw(section, key)
    ]
