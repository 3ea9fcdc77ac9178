"""The address blocks of peers' certificates: from a patched charon's events, else from `list-certs`.

A stock charon lists the certificates that peers sent and whose signature was verified, but caches
only 32 of them. When the daemon starts beside a running charon, the certificates of further peers
are not available; the SAs of these peers are ended once, so that they authenticate again and send
them.

Several certificates may fit one identity (a renewed one and its predecessor, which may be revoked by now).
It is unknown which of them the peer used, so only the blocks that all of them grant count.
"""

from collections import OrderedDict
from collections.abc import Iterable

from nhrpd_py.core.address import Prefix
from nhrpd_py.core.config import Config
from nhrpd_py.runtime.vici.sas.addrblock import address_blocks
from nhrpd_py.runtime.vici.wire.connection import (
    CommandChannel,
    Section,
    ViciRefusedError,
    number,
    text,
)

KNOWN_LIMIT = 65536
"""Limit of identities: as many as there may be SAs."""

Blocks = tuple[Prefix, ...] | None


class Certificates:
    """Asks charon for peers' certificates, and remembers by identity which address blocks they grant."""

    def __init__(self) -> None:
        self._are_needed = False
        self.available: bool | None = None
        """Whether charon lists certificates; None before it was asked."""
        self._asked_again: set[str] = set()
        """Identities that had to authenticate again because their certificate was missing; each
        only once."""
        self._known: OrderedDict[str, Blocks] = OrderedDict()

    def configure(self, config: Config) -> None:
        """Applies a configuration: certificates are only read if an interface authorizes by
        them."""
        self._are_needed = any(
            each.ipsec is not None and each.authorize.certificate
            for each in config.interfaces.values()
        )

    def blocks(self, identity: str, certificate: bytes) -> Blocks:
        """Returns a peer's address blocks; None where its certificate is unknown or has none."""
        if not self._are_needed:
            return None
        if certificate:
            return _read(certificate)
        return self._known.get(identity)

    async def learn(self, commands: CommandChannel, ikes: Iterable[Section]) -> None:
        """Reads the certificates of the peers of some IKE_SAs. Raises ViciLostError.

        Where charon lists none any more, the known blocks of the identity are kept: the IKE_SA was
        authenticated with the certificate of that time.
        """
        if not self._are_needed:
            return
        identities = {
            text(ike.get("remote-id")) for ike in ikes if not ike.get("remote-cert-data")
        } - {""}
        for identity in identities:
            request = {"type": "X509", "flag": "NONE", "subject": identity}
            try:
                items = await commands.stream("list-certs", "list-cert", request)
            except ViciRefusedError:
                self.available = False
                return
            self.available = True
            data = [octets for item in items if isinstance(octets := item.get("data"), bytes)]
            if data:
                self._keep(identity, common([_read(octets) for octets in data]))

    def lacking(self, ikes: Iterable[Section]) -> set[int]:
        """Returns the uniqueids of the IKE_SAs to be ended, so that their peers send their certificates again."""
        if not self._are_needed or not self.available:
            return set()
        found = {
            number(ike.get("uniqueid")): identity
            for ike in ikes
            if not ike.get("remote-cert-data")
            and (identity := text(ike.get("remote-id"))) not in self._known
            and identity not in self._asked_again
        }
        self._asked_again.update(found.values())
        return set(found)

    def _keep(self, identity: str, blocks: Blocks) -> None:
        self._known[identity] = blocks
        self._known.move_to_end(identity)
        while len(self._known) > KNOWN_LIMIT:
            self._known.popitem(last=False)


def common(grants: list[Blocks]) -> Blocks:
    """Returns the blocks that all certificates grant; None when one of them has no address
    blocks."""
    result = grants[0]
    for other in grants[1:]:
        if result is None or other is None:
            return None
        both = [one for one in result if any(each.covers(one) for each in other)]
        both += [one for one in other if any(each.covers(one) for each in result)]
        result = tuple(dict.fromkeys(both))
    return result


def _read(certificate: bytes) -> Blocks:
    try:
        return address_blocks(certificate)
    except ValueError:
        return None
