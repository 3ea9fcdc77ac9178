"""Who may claim what: the policy that binds authenticated IKE identities to tunnel addresses and networks.

Rules name identities by pattern; all rules that match add up. Instead of rules, the address blocks of the peer's
certificate (RFC 3779) can be the policy. Where several peers share one pair of outer addresses, IPsec cannot tell which
of them sent a packet: then all of them must be allowed what one of them claims.
"""

from collections.abc import Iterable

from nhrpd_py.core.address import IPV4_SIZE, IPV6_SIZE, Address, Prefix, format_address, host_prefix
from nhrpd_py.core.config import AuthorizeConfig, AuthorizeRule, Unlisted
from nhrpd_py.core.events import Association
from nhrpd_py.core.ipsec.pattern import Pattern

EVERYTHING = (Prefix(bytes(IPV4_SIZE), 0), Prefix(bytes(IPV6_SIZE), 0))
MAX_KNOWN = 4096
"""Identities whose rules are remembered."""


class Policy:
    """The rules of one interface; owned by its circuits."""

    __slots__ = ("_config", "_known", "_patterns")

    def __init__(self, config: AuthorizeConfig) -> None:
        self._config = config
        self._patterns = [(Pattern(rule.identity), rule) for rule in config.rules]
        self._known: dict[str, tuple[AuthorizeRule, ...]] = {}
        """Identity → the rules that match it."""

    @property
    def restricts(self) -> bool:
        """Returns whether the policy can refuse anything at all."""
        config = self._config
        return bool(config.rules) or config.certificate or config.unlisted is Unlisted.DENY

    def address_denial(self, associations: Iterable[Association], protocol: Address) -> str | None:
        """Returns why a peer may not have a tunnel address; None when it may."""
        return self._denial(associations, host_prefix(protocol), is_station=True)

    def prefix_denial(self, associations: Iterable[Association], prefix: Prefix) -> str | None:
        """Returns why a network may not lie behind a peer; None when it may."""
        return self._denial(associations, prefix, is_station=False)

    def vouches(self, associations: Iterable[Association], prefix: Prefix) -> bool:
        """Returns whether rules say of every peer that it may claim a network, or an address as a network of one.

        What is allowed only because no rule is about a peer is not vouched for.
        """
        peers = list(associations)
        return self.restricts and bool(peers) and all(self._names(each, prefix) for each in peers)

    def _names(self, peer: Association, prefix: Prefix) -> bool:
        if not self._config.certificate and not self._rules_of(peer.identity):
            return False
        allowed = self._allowed(peer, is_station=prefix.is_host)
        return allowed is None or any(one.covers(prefix) for one in allowed)

    def sources(self, peer: Association) -> tuple[Prefix, ...]:
        """Returns what the certificate or the rules that name a peer say that it may send from."""
        if not self._config.certificate and not self._rules_of(peer.identity):
            return ()
        allowed = self._allowed(peer, is_station=False)
        return EVERYTHING if allowed is None else allowed

    def hopeless(self, gateway: Address, prefix: Prefix) -> str | None:
        """Returns why no peer at all may have a tunnel address with a network behind it; None when some peer may.

        For a peer without an SA, whose identity is not known yet.
        """
        config = self._config
        if config.certificate or config.unlisted is Unlisted.ALLOW:
            return None
        for what, is_station in ((host_prefix(gateway), True), (prefix, False)):
            if what == host_prefix(gateway) and not is_station:
                continue
            parts = [rule.protocol if is_station else _networks(rule) for rule in config.rules]
            if not any(part is None or any(one.covers(what) for one in part) for part in parts):
                return f"nobody is authorized for {_text(what)}"
        return None

    def _denial(
        self, associations: Iterable[Association], prefix: Prefix, *, is_station: bool
    ) -> str | None:
        if not self.restricts:
            return None
        for each in associations:
            allowed = self._allowed(each, is_station=is_station)
            if allowed is None or any(one.covers(prefix) for one in allowed):
                continue
            if self._config.certificate and each.address_blocks is None:
                return f"the certificate of {each.identity} has no address blocks"
            return f"{each.identity} is not authorized for {_text(prefix)}"
        return None

    def _allowed(self, peer: Association, *, is_station: bool) -> tuple[Prefix, ...] | None:
        """Returns the prefixes that a peer may claim; None: everything."""
        if self._config.certificate:
            return peer.address_blocks or ()
        rules = self._rules_of(peer.identity)
        if not rules:
            return None if self._config.unlisted is Unlisted.ALLOW else ()
        allowed: list[Prefix] = []
        for rule in rules:
            part = rule.protocol if is_station else _networks(rule)
            if part is None:
                return None
            allowed += part
        return tuple(allowed)

    def _rules_of(self, identity: str) -> tuple[AuthorizeRule, ...]:
        rules = self._known.get(identity)
        if rules is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            rules = tuple(rule for pattern, rule in self._patterns if pattern.matches(identity))
            self._known[identity] = rules
        return rules


def _text(prefix: Prefix) -> str:
    return format_address(prefix.address) if prefix.is_host else str(prefix)


def _networks(rule: AuthorizeRule) -> tuple[Prefix, ...] | None:
    if rule.prefixes is None:
        return None
    return (*rule.prefixes, *(rule.protocol or ()))
