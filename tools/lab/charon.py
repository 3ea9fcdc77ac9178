"""A stock strongSwan per node: charon-systemd with the node's own configuration and socket.

The files are those of etc/ with the node's names put in. Needs `Lab(private_run=True)`: every charon
of a machine insists on the same paths, so each node sees its own /etc/swanctl,
/etc/strongswan.conf and /run/charon.vici.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vici import Session

from tools.lab.guest import REPOSITORY
from tools.lab.namespace import CommandFailedError, Namespace, stop, wait_until
from tools.lab.pki import Authority, Credential, authority

CHARON = Path("/usr/sbin/charon-systemd")
SOCKET = Path("/run/charon.vici")
SAMPLES = REPOSITORY / "etc"
START_LIMIT_S = 30.0
MODULES = (
    *("esp4", "esp6", "xfrm_user", "xfrm_algo", "authenc", "echainiv", "seqiv"),
    *("cbc", "gcm", "ctr", "ghash-generic", "hmac", "sha512_generic"),
)
_WARM_STATE = f"""
ip xfrm state add src 127.0.0.1 dst 127.0.0.1 proto esp spi 0x100 mode transport
 auth-trunc hmac(sha512) 0x{"00" * 64} 256 enc cbc(aes) 0x{"00" * 32}
""".split()

_STRONGSWAN_CONF = """
charon {{
    load_modular = yes
    plugins {{
        include strongswan.d/charon/*.conf
    }}
}}
include strongswan.d/*.conf
include {samples}/strongswan.d-dmvpn.conf
charon-systemd {{
    journal {{
        default = -1
    }}
    filelog {{
        lab {{
            path = {log}
            default = 1
            cfg = 2
            flush_line = yes
            time_format = %T
            time_add_ms = yes
        }}
    }}
}}
{extra}
"""
_SECRETS = """
secrets {{
    ike-dmvpn {{
        secret = "{psk}"
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipsec:
    """Differences of a node's IPsec from the sample file, which has certificates and no remote
    id."""

    authority: Authority | None = None
    """The authority that signs its certificate and that it trusts; None: the run's common ECDSA
    one."""
    psk: str | None = None
    """Authenticates by this secret instead of certificates."""
    remote_id: str | None = None
    """Demands this identity of every peer; may have wildcards."""
    expired: bool = False
    address_blocks: tuple[str, ...] = ()
    """RFC 3779 blocks of its certificate."""
    changes: tuple[tuple[str, str], ...] = ()
    """(text of the sample, its replacement): other proposals, `mode = tunnel`…"""
    strongswan_conf: str = ""
    """Further sections of strongswan.conf."""


@dataclass(frozen=True, slots=True)
class Child:
    """A CHILD_SA and the IKE_SA that it belongs to."""

    connection: str
    name: str
    state: str
    mode: str
    local_host: str
    remote_host: str
    remote_id: str
    ike_id: int
    child_id: int
    spi_in: str
    spi_out: str
    packets_in: int
    packets_out: int


@dataclass(slots=True, eq=False, kw_only=True)
class Charon:
    """The charon of one node."""

    namespace: Namespace
    name: str
    """The name of the node and of its files."""
    sample: str
    """`swanctl-hub.conf` or `swanctl-spoke.conf`."""
    identity: str
    directory: Path
    """The node's directory."""
    ipsec: Ipsec = field(default_factory=Ipsec)
    credential: Credential | None = field(init=False, default=None)
    _process: subprocess.Popen[Any] | None = None
    _prepared: bool = False

    @property
    def etc(self) -> Path:
        """Returns the directory that the node sees as /etc/swanctl."""
        return self.directory / "swanctl"

    @property
    def log_path(self) -> Path:
        """Returns charon's log."""
        return self.directory / "charon.log"

    @property
    def socket_path(self) -> Path:
        """Returns the VICI socket, as it is reached from outside the node."""
        return self.namespace.root / SOCKET.relative_to("/")

    @property
    def authority(self) -> Authority:
        """Returns the authority that this node trusts."""
        return self.ipsec.authority or authority()

    def start(self, *, load: bool = True) -> None:
        """Starts charon and, as Debian's unit does, loads everything; returns when it is ready."""
        if not self._prepared:
            self._prepare()
        self._process = self.namespace.popen(CHARON, log=self.directory / "charon-console.log")
        wait_until(self._answers, START_LIMIT_S, f"{self.name}: charon answers", interval_s=0.05)
        if load:
            self.load_all()

    def stop(self) -> int:
        """Ends charon as systemd does: it deletes its SAs at the peers and in the kernel."""
        status = stop(self.process)
        self._process = None
        return status

    def kill(self) -> None:
        """Ends charon with SIGKILL, if it runs: its SAs stay in the kernel."""
        if self._process is not None:
            stop(self._process, signal.SIGKILL)
            self._process = None

    @property
    def running(self) -> bool:
        """Whether it was started, and neither stopped nor killed."""
        return self._process is not None

    def restart(self) -> None:
        """Stops and starts it."""
        self.stop()
        self.start()

    @property
    def process(self) -> subprocess.Popen[Any]:
        """Returns the running charon."""
        if self._process is None:
            raise CommandFailedError(f"{self.name}: charon is not running")
        return self._process

    def swanctl(self, *arguments: str, check: bool = True) -> str:
        """Runs swanctl in the node and returns its output."""
        return self.namespace.run("swanctl", *arguments, check=check)

    def load_all(self) -> str:
        """Runs `swanctl --load-all`, which also unloads what is no longer in the files."""
        return self.swanctl("--load-all", "--clear", "--noprompt")

    @property
    def swanctl_conf(self) -> Path:
        """Returns the path of the node's swanctl.conf, for tests that break and repair it."""
        return self.etc / "swanctl.conf"

    def write_files(self) -> None:
        """Writes swanctl.conf, certificate, key and CRL as `ipsec` has them; does not load them."""
        for folder in ("x509", "x509ca", "x509crl", "ecdsa", "rsa", "private", "conf.d"):
            (self.etc / folder).mkdir(parents=True, exist_ok=True)
        self.swanctl_conf.write_text(self._swanctl_conf())
        self.swanctl_conf.chmod(0o600)
        if self.ipsec.psk is None:
            credential = self.authority.issue(
                self.identity,
                address_blocks=self.ipsec.address_blocks,
                expired=self.ipsec.expired,
            )
            self.credential = credential
            file_name = self.name + credential.certificate.suffix
            shutil.copy(credential.certificate, self.etc / "x509" / file_name)
            shutil.copy(credential.key, self.etc / credential.kind.value / file_name)
            (self.etc / credential.kind.value / file_name).chmod(0o600)
            shutil.copy(
                self.authority.certificate, self.etc / f"x509ca/ca{credential.certificate.suffix}"
            )
            self.install_crl()

    def install_crl(self) -> None:
        """Copies the authority's list of revoked certificates, if it has one, to the files."""
        if self.authority.crl is not None:
            name = f"crl{self.authority.crl.suffix}"
            shutil.copy(self.authority.crl, self.etc / "x509crl" / name)

    def connection(self, local: str, remote: str, **changes: str) -> dict[str, Any]:
        """Returns the connection of swanctl.conf for one peer, as VICI has it."""
        here: dict[str, Any] = {"auth": "psk", "id": self.identity}
        if self.credential is not None:
            certificate = self.credential.certificate.read_bytes()
            here |= {"auth": "pubkey", "certs": [certificate]}
        child = {
            "esp_proposals": ["aes256-sha512-ecp384"],
            "local_ts": ["dynamic[gre]"],
            "remote_ts": ["dynamic[gre]"],
            "mode": "transport",
        }
        return {
            "version": "2",
            "mobike": "no",
            "local_addrs": [local],
            "remote_addrs": [remote],
            "proposals": ["aes256-sha512-ecp384"],
            "local": here,
            "remote": {"auth": here["auth"]},
            "children": {"dmvpn": child},
            **changes,
        }

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Yields a blocking VICI session; one for commands cannot follow events too."""
        with socket.socket(socket.AF_UNIX) as connection:
            # With a timeout, connecting fails at once while others wait to be accepted.
            connection.connect(str(self.socket_path))
            connection.settimeout(START_LIMIT_S)
            yield Session(connection)

    def request(self, command: str, message: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Sends one VICI command and returns its answer as text; raises when it is refused."""
        with self.session() as session:
            answer: dict[str, Any] = _text(session.request(command, message))
        return answer

    def stream(
        self, command: str, event: str, message: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Sends a VICI command that is answered by events, and returns these as text."""
        with self.session() as session:
            return [_text(row) for row in session.streamed_request(command, event, message)]

    def ike_sas(self) -> list[dict[str, Any]]:
        """Returns `list-sas`, one row per IKE_SA with its connection's name as `connection`."""
        return [
            {**row, "connection": connection}
            for event in self.stream("list-sas", "list-sa")
            for connection, row in event.items()
        ]

    def children(self, remote_host: str | None = None) -> list[Child]:
        """Returns the CHILD_SAs that are installed, of one peer if given."""
        return [
            child
            for child in self._all_children()
            if child.state in ("INSTALLED", "REKEYING", "REKEYED", "UPDATING")
            and remote_host in (None, child.remote_host)
        ]

    def said(self, text: str) -> bool:
        """Whether the log has this text."""
        return text in self.log_path.read_text(errors="replace")

    def _all_children(self) -> Iterator[Child]:
        for row in self.ike_sas():
            for child in row.get("child-sas", {}).values():
                yield Child(
                    connection=row["connection"],
                    name=child["name"],
                    state=child["state"],
                    mode=child["mode"],
                    local_host=row["local-host"],
                    remote_host=row["remote-host"],
                    remote_id=row.get("remote-id", ""),
                    ike_id=int(row["uniqueid"]),
                    child_id=int(child["uniqueid"]),
                    spi_in=child.get("spi-in", ""),
                    spi_out=child.get("spi-out", ""),
                    packets_in=int(child.get("packets-in", 0)),
                    packets_out=int(child.get("packets-out", 0)),
                )

    def _prepare(self) -> None:
        if not self.namespace.private_run:
            raise CommandFailedError(f"{self.name}: charon needs Lab(private_run=True)")
        load_modules()
        self.write_files()
        settings = self.directory / "strongswan.conf"
        settings.write_text(
            _STRONGSWAN_CONF.format(
                samples=SAMPLES, log=self.log_path, extra=self.ipsec.strongswan_conf
            )
        )
        self.namespace.bind(self.etc, Path("/etc/swanctl"))
        self.namespace.bind(settings, Path("/etc/strongswan.conf"))
        self._prepared = True

    def _swanctl_conf(self) -> str:
        text = (SAMPLES / self.sample).read_text()
        sample_host = {"swanctl-hub.conf": "hub1", "swanctl-spoke.conf": "spoke2"}[self.sample]
        suffix = ".pem" if self.ipsec.psk is not None else self._suffix
        changes = [
            (f"id = {sample_host}.vpn.example\n", f"id = {self.identity}\n"),
            (f"certs = {sample_host}.pem", f"certs = {self.name}{suffix}"),
        ]
        if self.ipsec.psk is not None:
            changes += [(changes[-1][1], ""), ("auth = pubkey", "auth = psk")]
        if self.ipsec.remote_id is not None:
            text = re.sub(r"(?<=remote {\n)((?:.*\n)*?) +id = .*\n", r"\1", text)
            changes.append(("remote {\n", f"remote {{\n            id = {self.ipsec.remote_id}\n"))
        for old, new in (*changes, *self.ipsec.changes):
            if old not in text:
                raise ValueError(f"{self.sample} has no {old!r}")
            text = text.replace(old, new)
        return text + ("" if self.ipsec.psk is None else _SECRETS.format(psk=self.ipsec.psk))

    @property
    def _suffix(self) -> str:
        return self.authority.certificate.suffix

    def _answers(self) -> bool:
        status = self.process.poll()
        if status is not None:
            logs = [self.directory / "charon-console.log", self.log_path]
            said = "".join(log.read_text(errors="replace") for log in logs if log.exists())
            raise CommandFailedError(f"{self.name}: charon ended ({status})\n{said[-4000:]}")
        with contextlib.suppress(OSError):
            self.request("version")
            return True
        return False


@functools.cache
def load_modules() -> None:
    """Has the kernel load the modules of ESP; otherwise the first SA takes over two seconds.

    A module that is built in, or has another name in this kernel, is no error.
    """
    subprocess.run(["modprobe", "-a", "-q", *MODULES], check=False, capture_output=True)
    # The kernel looks for a module named after each combination of algorithms, unless the
    # combination is in use.
    subprocess.run(_WARM_STATE, check=False, capture_output=True)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Mapping):
        return {name: _text(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_text(each) for each in value]
    return value
