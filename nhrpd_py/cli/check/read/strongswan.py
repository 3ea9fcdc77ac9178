"""Reads charon, over VICI, and the connections that `swanctl` makes of its files."""

import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from nhrpd_py.cli.check.facts import Certificate, CharonFacts, Process
from nhrpd_py.cli.check.findings import Unread
from nhrpd_py.cli.check.parse.x509 import NotX509Error, der_of, read_certificate, read_crl
from nhrpd_py.cli.check.read.machine import AS_ROOT, is_root
from nhrpd_py.cli.check.read.programs import SBIN
from nhrpd_py.core.config import Config
from nhrpd_py.runtime.vici.profiles.profile import ProfileError, find_profile
from nhrpd_py.runtime.vici.profiles.swanctl import SwanctlConf, read_swanctl
from nhrpd_py.runtime.vici.wire.connection import ViciConnection, ViciError, text

CONNECT_S = 3.0
LOOK_AT_CHARON = "journalctl -u strongswan -n 50   # a restart of it ends all its SAs"
NOISE = ("agent plugin ", "plugin '", "no files found matching", "unable to load plugin")
DMVPN_EVENT = "child-state-installing"
"""An event that only a charon with the DMVPN patches knows."""


def read_charon(config: Config, process: Process | None) -> CharonFacts | None:
    """Asks charon, and reads what it is configured with. None: no interface is protected by IPsec."""
    if all(interface.ipsec is None for interface in config.interfaces.values()):
        return None
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{SBIN}"  # for swanctl
    template = trio.run(read_swanctl, config.vici.swanctl_config)
    given: dict[str, Any] = {
        "template": _connections(config, template),
        "template_problems": _complaints(template),
        "own": {name: _own(config, name) for name in config.profiles},
        "files": _files(Path(config.vici.swanctl_config).parent / "x509"),
    }
    refusal = _refusal(config.vici.socket)
    if refusal is not None:
        return CharonFacts(version=refusal, **given)
    try:
        said = trio.run(_ask, config.vici.socket)
    except ViciError as error:
        return CharonFacts(version=Unread(str(error), LOOK_AT_CHARON), **given)
    closed = _closed_to(config.vici.socket, process)
    return CharonFacts(**said, **given, closed_to_daemon=closed)


# --- swanctl --------------------------------------------------------------------------------------


def _connections(config: Config, template: SwanctlConf) -> Mapping[str, Any] | Unread:
    if template.connections or template.problem is None:
        return template.connections
    if set(_wanted(config)) <= config.profiles.keys():
        return {}
    file = Path(config.vici.swanctl_config)
    if not os.access(file, os.R_OK) and file.exists():
        return Unread(f"{file}: permission denied", f"ls -l {file}" if is_root() else None)
    return template.connections


def _complaints(template: SwanctlConf) -> list[str]:
    """Returns what swanctl complained of, but for its plugins and for empty directories."""
    said = (template.problem or "").split("; ")
    return [line for line in said if line and not any(noise in line for noise in NOISE)]


def _wanted(config: Config) -> list[str]:
    protected = [each.ipsec for each in config.interfaces.values() if each.ipsec is not None]
    names = [name for each in protected for name in (each.profile, each.fallback_profile)]
    return [name for name in names if name is not None]


def _own(config: Config, name: str) -> Mapping[str, Any] | Unread:
    try:
        found = find_profile(name, SwanctlConf(), config.vici.swanctl_config, config.profiles)
    except ProfileError as error:
        return Unread(str(error))
    return found.message


def _files(directory: Path) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    try:
        files = list(directory.iterdir())
    except OSError:
        return found
    for file in files:
        with suppress(OSError, NotX509Error):  # not a certificate, or not for us to read
            found[der_of(file.read_bytes())] = str(file)
    return found


# --- charon ---------------------------------------------------------------------------------------


def _refusal(path: str) -> Unread | None:
    """Returns why charon's socket cannot be used, and what mends it; None when it can be."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(CONNECT_S)
            probe.connect(path)
    except OSError as error:
        match error.errno:
            case errno.ENOENT:
                return Unread(
                    f"{path} is not there: charon does not run, or has no vici plugin",
                    "systemctl start strongswan   # apt install charon-systemd, if there is none",
                )
            case errno.ECONNREFUSED:
                return Unread(
                    f"{path}: nobody listens, charon has stopped", "systemctl restart strongswan"
                )
            case errno.EACCES | errno.EPERM:
                if not is_root():
                    return Unread(f"{path}: permission denied; as root: {AS_ROOT}")
                return Unread(f"{path}: permission denied", f"ls -l {path}")
            case _:
                return Unread(f"{path}: {error.strerror or error}", LOOK_AT_CHARON)
    except ValueError as error:
        return Unread(f"{path}: {error}", "socket = PATH under [vici]")
    return None


def _closed_to(path: str, process: Process | None) -> str | None:
    """Returns whom charon's socket is for, if the daemon's user may not use it. Root may use all."""
    if process is None or not process.user or process.user == "root":
        return None
    try:
        found = Path(path).stat()
        user = pwd.getpwnam(process.user)
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
        owner = pwd.getpwuid(found.st_uid).pw_name
        group = grp.getgrgid(found.st_gid).gr_name
    except (OSError, KeyError):
        return None
    if found.st_uid == user.pw_uid:
        needed = stat.S_IRUSR | stat.S_IWUSR
    elif found.st_gid in groups:
        needed = stat.S_IRGRP | stat.S_IWGRP
    else:
        needed = stat.S_IROTH | stat.S_IWOTH
    if found.st_mode & needed == needed:
        return None
    return f"it is {user.pw_name}, and the socket is {owner}:{group} {found.st_mode & 0o777:o}"


async def _ask(path: str) -> dict[str, Any]:
    connection = await ViciConnection.open(path)
    try:
        patched = await connection.register(DMVPN_EVENT)
        version = await connection.request("version")
        loaded = await connection.stream("list-conns", "list-conn")
        keys = await connection.request("get-keys")
        certificates = await connection.stream("list-certs", "list-cert", {"type": "X509"})
        lists = await connection.stream("list-certs", "list-cert", {"type": "X509_CRL"})
    finally:
        await connection.aclose()
    own, authorities = set(), {}
    for each in certificates:
        data = each.get("data")
        if not isinstance(data, bytes):
            continue
        if text(each.get("has_privkey")) == "yes":
            own.add(data)
        if text(each.get("flag")) == "CA":
            authorities[data] = each
    return {
        "version": text(version.get("version"), "of an unknown version"),
        "patched": patched,
        "loaded": frozenset(name for each in loaded for name in each),
        "own_with_key": frozenset(own),
        "private_keys": len(keys.get("keys") or ()),
        "authorities": [each for each in map(_authority, authorities) if each is not None],
        "revocations": _newest([each for each in map(_list, lists) if each is not None]),
    }


def _authority(data: bytes) -> Certificate | None:
    try:
        return read_certificate(data)
    except NotX509Error:
        return None


def _list(message: Mapping[str, Any]) -> Certificate | None:
    data = message.get("data")
    try:
        return read_crl(data) if isinstance(data, bytes) else None
    except NotX509Error:
        return None


def _newest(lists: list[Certificate]) -> list[Certificate]:
    """Returns the last list of each authority; charon keeps older ones too."""
    found: dict[str, Certificate] = {}
    for each in sorted(lists, key=lambda crl: crl.not_before):
        found[each.name] = each
    return list(found.values())
