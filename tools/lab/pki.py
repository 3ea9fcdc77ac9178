"""Certification authorities made with strongSwan's `pki`, as an operator makes them.

`authority()` returns the same authority for the same arguments: keys and certificates are made once
per run. A certificate that was revoked is not returned again.
"""

from __future__ import annotations

import atexit
import enum
import functools
import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ORGANISATION = "C=CH, O=strongSwan"
LIMIT_S = 60.0
PLUGINS = "random nonce x509 pubkey pkcs1 pkcs8 pem openssl"


class Key(enum.Enum):
    """The type of keys; the value is swanctl's folder for private keys of this type."""

    ECDSA = "ecdsa"
    """P-384, as strong as the ecp384 of the proposals, and made in 20 ms."""
    RSA = "rsa"
    """2048 bits, the default of `pki --gen`; 0.3 s and more for each."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its private key. RSA ones are DER files, the default of `pki`."""

    name: str
    certificate: Path
    key: Path
    kind: Key

    @property
    def subject(self) -> str:
        """Returns the distinguished name."""
        return f"{ORGANISATION}, CN={self.name}"


@dataclass(slots=True, eq=False, weakref_slot=True)
class Authority:
    """A certification authority; its hosts' certificates have their name as subjectAltName."""

    name: str
    kind: Key = Key.ECDSA
    address_blocks: tuple[str, ...] = ()
    """RFC 3779: prefixes that it may certify; without them, a host's blocks are not valid."""
    directory: Path = field(init=False)
    crl: Path | None = None
    """The last list of revoked certificates, None before the first."""
    _credential: Credential = field(init=False)
    _issued: dict[tuple[object, ...], Credential] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="nhrpd-pki-"))
        weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        key = self._generate("ca")
        options: list[str | Path] = ["--self", "--in", key, *self._type, "--ca"]
        options += ["--dn", f"{ORGANISATION}, CN={self.name}"]
        options += _repeated("--addrblock", self.address_blocks)
        self._credential = Credential(self.name, self._write("ca", options), key, self.kind)

    @property
    def certificate(self) -> Path:
        """Returns the authority's own certificate."""
        return self._credential.certificate

    def issue(
        self, name: str, *, address_blocks: Sequence[str] = (), expired: bool = False
    ) -> Credential:
        """Returns the certificate of a host and its key, the same ones when asked again."""
        wanted = (name, tuple(address_blocks), expired)
        known = self._issued.get(wanted)
        if known is not None:
            return known
        key = self._generate(name)
        options: list[str | Path] = [
            "--issue",
            "--cacert",
            self.certificate,
            "--cakey",
            self._credential.key,
        ]
        options += ["--san", name, "--dn", f"{ORGANISATION}, CN={name}"]
        options += _repeated("--addrblock", address_blocks)
        if expired:
            options += ["--not-before", "01.01.20 00:00:00", "--not-after", "02.01.20 00:00:00"]
        public = b""
        if self.kind is Key.RSA:
            public = _pki("--pub", "--in", key)
        else:  # in one step
            options += ["--in", key, *self._type]
        certificate = self._write(name, options, stdin=public)
        self._issued[wanted] = Credential(name, certificate, key, self.kind)
        return self._issued[wanted]

    def revoke(self, *credentials: Credential) -> Path:
        """Signs a new list with these certificates, if any, and all that were revoked before."""
        options: list[str | Path] = [
            "--signcrl",
            "--cacert",
            self.certificate,
            "--cakey",
            self._credential.key,
        ]
        if self.crl is not None:
            # Also increases its number: charon keeps the list with the highest number.
            options += ["--lastcrl", self.crl]
        for credential in credentials:
            options += ["--reason", "superseded", "--cert", credential.certificate]
            self._issued = {
                wanted: known for wanted, known in self._issued.items() if known is not credential
            }
        self.crl = self._write("crl", options)
        return self.crl

    # Omitted for RSA, so that these are exactly the commands of the strongSwan manuals.

    @property
    def _type(self) -> list[str]:
        return [] if self.kind is Key.RSA else ["--type", self.kind.value]

    @property
    def _form(self) -> list[str]:
        return [] if self.kind is Key.RSA else ["--outform", "pem"]

    @property
    def _suffix(self) -> str:
        return ".der" if self.kind is Key.RSA else ".pem"

    def _generate(self, name: str) -> Path:
        return self._write(f"{name}-key", ["--gen", *self._type])

    def _write(self, name: str, options: Sequence[str | Path], *, stdin: bytes = b"") -> Path:
        self._count += 1
        path = self.directory / f"{self._count}-{name}{self._suffix}"
        path.write_bytes(_pki(*options, *self._form, stdin=stdin))
        return path


@functools.cache
def authority(
    name: str = "strongSwan CA", kind: Key = Key.ECDSA, address_blocks: tuple[str, ...] = ()
) -> Authority:
    """Returns the authority with these properties; made on first use, and kept for the run."""
    return Authority(name, kind, address_blocks)


def _repeated(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


@functools.cache
def _settings() -> Path:
    """A strongswan.conf with the plugins that it takes: to load all of them takes longer than the work."""
    path = Path(tempfile.mkdtemp(prefix="nhrpd-pki-")) / "strongswan.conf"
    atexit.register(shutil.rmtree, path.parent)
    path.write_text(f"pki {{\n    load = {PLUGINS}\n}}\n")
    return path


def _pki(*options: str | Path, stdin: bytes = b"") -> bytes:
    done = subprocess.run(
        ["pki", *options],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=LIMIT_S,
        env={**os.environ, "STRONGSWAN_CONF": str(_settings())},
    )
    if done.returncode != 0 or not done.stdout:
        said = done.stderr.decode(errors="replace")
        raise RuntimeError(f"pki {' '.join(map(str, options))}: status {done.returncode}\n{said}")
    return done.stdout
