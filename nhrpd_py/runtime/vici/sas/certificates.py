"""The address blocks of peers' certificates: from a patched charon's events, else from `list-certs`.

A stock charon keeps the certificates that peers sent, once their signature was verified, in a cache
of 32, and lists them. When we start anew beside it, those of further peers cannot be had; their SAs
are ended once, so that they authenticate again and show them.

Several may fit one identity (a renewed one and its predecessor, which may be revoked by now); which
of them the peer used cannot be told, so that only what all of them grant counts.
"""

from collections import OrderedDict
from collections.abc import Iterable

from nhrpd_py.core.address import Prefix
from nhrpd_py.runtime.vici.sas.addrblock import address_blocks
from nhrpd_py.runtime.vici.wire.connection import (
    Commands,
    Section,
    ViciRefusedError,
    number,
    sections,
    text,
)

KNOWN_LIMIT = 65536
"""As many as there may be SAs."""

Blocks = tuple[Prefix, ...] | None


class Certificates:
    """Remembers, of each identity, what its certificate grants."""

    def __init__(self) -> None:
        self.wanted = False
        """Somebody goes by certificates; else nothing is asked of charon."""
        self.available: bool | None = None
        """Whether charon lists certificates; None before it was asked."""
        self._asked_again: set[str] = set()
        """Identities without a certificate that had to authenticate again; it does not help all of them."""
        self._known: OrderedDict[str, Blocks] = OrderedDict()

    def blocks(self, identity: str, certificate: bytes) -> Blocks:
        """What a peer's certificate grants, as far as it is known."""
        if not self.wanted:
            return None
        if certificate:
            return _read(certificate)
        return self._known.get(identity)

    async def learn(self, commands: Commands, ikes: Iterable[Section]) -> None:
        """Asks for the certificates of the peers of some IKE_SAs. Raises ViciLostError.

        Where charon lists none any more, what was known of the identity stays: an IKE_SA that was
        authenticated long ago has the certificate of then.
        """
        if not self.wanted:
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
        """The IKE_SAs, by number, that are to be ended, so that their peers show their certificates again."""
        if not self.wanted or not self.available:
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


def peers_of(event: Section) -> list[Section]:
    """The IKE_SAs that an event is about."""
    return [ike for _, ike in sections(event)]


def common(grants: list[Blocks]) -> Blocks:
    """What all of them grant; None when one of them has no blocks at all."""
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
