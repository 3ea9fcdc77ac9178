"""Decides who may have an SA: one that charon accepted may still be denied, and is then ended."""

from collections.abc import Mapping, Sequence

from nhrpd_py.core.address import format_address
from nhrpd_py.runtime.vici.attempts.attempt import Attempt
from nhrpd_py.runtime.vici.attempts.wanted import WantedSas
from nhrpd_py.runtime.vici.profiles.identity import fits
from nhrpd_py.runtime.vici.profiles.profiles import Profiles
from nhrpd_py.runtime.vici.sas.children import Child, Pair


class Admission:
    """Admits or denies CHILD_SAs by the identity of their peer.

    charon checks the identity of a server when we initiate. But the connection that answers peers
    accepts every peer with a valid certificate, also at the address of a server, where the profile
    may demand one identity. And the kernel cannot tell two peers at one address apart (both behind
    one NAT): packets for one would be encrypted for the other. The first peer keeps the address
    while it has an SA.
    """

    def __init__(
        self, wanted: WantedSas, profiles: Profiles, under_way: Mapping[Pair, Attempt]
    ) -> None:
        self._wanted = wanted
        self._profiles = profiles
        self._under_way = under_way

    def denial(self, child: Child, others: Sequence[Child]) -> str | None:
        """Returns why an SA must be ended, or None. `others` are the earlier SAs at its address."""
        if not child.answered:
            attempt = self._under_way.get(child.pair)
            return None if attempt is None or attempt.is_server else self.server_denial(child)
        for other in others:
            if other.identity != child.identity:
                where = format_address(child.remote)
                return (
                    f"{child.identity} comes from {where}, where {other.identity} is: two peers"
                    " behind one address cannot be told apart"
                )
        return self.server_denial(child)

    def server_denial(self, child: Child) -> str | None:
        """Returns why an SA at the address of a server must be ended, or None."""
        for wanted in self._wanted.of_pair(child.pair):
            if wanted.effect.server:
                demanded = self._profiles.server_identities(wanted.effect.ipsec)
                if demanded and not any(fits(each, child.identity) for each in demanded):
                    return f"{child.identity} is not the server {', '.join(sorted(demanded))}"
        return None

    def servers_of(self, profile: str) -> list[Pair]:
        """Returns the pairs of addresses of servers whose identity a profile demands."""
        return [
            wanted.pair
            for wanted in self._wanted
            if wanted.effect.server and profile in wanted.profiles
        ]
