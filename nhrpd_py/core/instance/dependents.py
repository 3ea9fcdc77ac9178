"""What an instance does when a circuit comes up, goes down, or cannot be made: for protected interfaces only.

Bindings and shortcuts are known to the cache before their circuit is up and go into the kernel with it. When
the circuit goes, so do all bindings learnt over it: clients and peers register again over a new SA. A peer that IKE
cannot reach is held down for a while, and traffic stays on the hub. Owned by the instance, called by the handlers.
"""

from nhrpd_py.core.address import Address, Prefix, host_prefix
from nhrpd_py.core.instance.adoption import Adoption
from nhrpd_py.core.notices import ClaimRefused
from nhrpd_py.core.registration.claims import Claims
from nhrpd_py.core.registration.client import NhsClient
from nhrpd_py.core.resolution.failure import Failure, FailureKind
from nhrpd_py.core.resolution.prober import Prober
from nhrpd_py.core.resolution.requester import Requester
from nhrpd_py.core.station.binding import Binding, BindingType, Origin
from nhrpd_py.core.station.shortcuts import Shortcut
from nhrpd_py.core.station.station import Station

INTRUDED_SINCE_S = 0.5
"""For how long a peer may have had an SA before charon's report of it came, and the SA was found to be one too many."""
_LEARNT = (BindingType.CACHED, BindingType.DYNAMIC)
"""The types of bindings that peers make."""


class Dependents:
    """Updates what depends on a circuit: registrations, bindings, shortcuts and resolutions of an instance."""

    __slots__ = ("_adoption", "_claims", "_client", "_prober", "_requester", "_station")

    def __init__(
        self,
        station: Station,
        client: NhsClient,
        requester: Requester,
        adoption: Adoption,
        claims: Claims,
        prober: Prober,
    ) -> None:
        self._station = station
        self._claims = claims
        self._client = client
        self._requester = requester
        self._adoption = adoption
        self._prober = prober

    def path_proven(self, remote: Address, now: float) -> None:
        """Installs what was learnt by resolution and waited for its path."""
        station = self._station
        for binding in station.cache.of_nbma(remote):
            if binding.type is BindingType.CACHED and self._may_stay(binding, now):
                station.cache.entries.circuit_up(binding)

    def path_failed(
        self, remote: Address, failure: Failure, now: float, protocol: Address | None
    ) -> None:
        """Removes what was learnt by resolution and leads over a path that does not carry, all or of one station."""
        for binding in self._station.cache.of_nbma(remote):
            if binding.type is BindingType.CACHED and protocol in (None, binding.protocol):
                self._remove(binding, failure, now)

    def circuit_up(self, remote: Address, now: float) -> None:
        """Installs what waited for an SA with a peer and is allowed by the policy; registers again with a server."""
        station = self._station
        impostor = station.cache.get(remote)
        if impostor is not None and impostor.type in _LEARNT:
            self._refuse(impostor, "it is the outer address of a peer with an SA", now)
        for binding in station.cache.of_nbma(remote):
            if self._may_stay(binding, now):
                station.cache.hold(binding)
                station.cache.entries.circuit_up(binding)
            if binding.origin is Origin.KERNEL:
                self._adoption.ask_later(binding, now)
        self._prober.circuit_up(remote, now)
        self._client.circuit_up(remote, now)

    def reauthorize(self, now: float) -> None:
        """Applies a changed policy: drops what peers may no longer claim, and registers with servers it now allows."""
        circuits = self._station.circuits
        for remote in self._station.cache.nbma_addresses():
            if circuits.is_up(remote):
                for binding in self._station.cache.of_nbma(remote):
                    if self._may_stay(binding, now):
                        self._station.cache.entries.circuit_up(binding)
        for registration in list(self._client.servers.registrations()):
            waits = not registration.is_idle and registration.next_at is None
            if waits and circuits.carries(registration.nbma):  # else `circuit_up` comes in a moment
                self._client.register_now(now, registration.nbma)

    def _may_stay(self, binding: Binding, now: float) -> bool:
        """Drops what the peer of a binding may not claim; returns whether the binding itself stays."""
        circuits = self._station.circuits
        denial = circuits.address_denial(binding.nbma, binding.protocol)
        has_moved = binding.held_at not in (b"", binding.nbma)
        if denial is None and has_moved and binding.type in _LEARNT:
            denial = self._claims.taken(binding.protocol, binding.nbma)
        if denial is None and binding.type is BindingType.CACHED and not binding.installed:
            denial = self._claims.covered(binding.nbma)  # by what came while nothing led there yet
        if denial is not None:
            self._refuse(binding, denial, now)
            return False
        for shortcut in self._station.shortcuts.of_peer(binding.protocol):
            denial = circuits.prefix_denial(binding.nbma, shortcut.prefix)
            if denial is not None:
                self._refuse_shortcut(shortcut, denial, now)
        return True

    def review_claims(self, now: float) -> None:
        """Drops what nobody may claim any more: this machine or a server of ours has another address, or `overlay` has
        changed.

        What was resolved may be asked for again at once: the network may be gone as soon as it came.
        """
        for binding in list(self._station.cache):
            refusal = None
            if binding.type in _LEARNT:
                refusal = (
                    self._claims.nbma_refusal(binding.nbma)
                    or self._claims.outer(binding.protocol)
                    or self._claims.outside(binding.protocol)
                )
            elif binding.type is BindingType.NHS:
                refusal = self._claims.server_refusal(binding.protocol)
            if refusal is not None:
                self._notify(binding, host_prefix(binding.protocol), refusal)
                self._station.cache.remove(binding, refusal)
        for registration in self._client.servers.registrations():
            self._claims.uncover(
                registration.nbma, "a server of ours is within it, by its NBMA address"
            )

    def circuit_down(self, remote: Address, reason: str, now: float) -> None:
        """Removes what depends on the last SA with a peer; static bindings only leave the kernel."""
        self._client.circuit_down(remote, reason, now)
        self._server_lost(remote)
        self._prober.give_up(remote, now)
        for binding in self._station.cache.of_nbma(remote):
            if binding.type is BindingType.STATIC:
                self._withdraw(binding, reason)
            else:
                self._station.cache.remove(binding, reason)

    def circuit_failed(self, remote: Address, reason: str, now: float) -> None:
        """Holds a peer down with whom an SA could not be made; removes the bindings that waited for it."""
        station = self._station
        self._client.circuit_failed(remote, reason, now)
        self._prober.give_up(remote, now)
        waiting = [
            each
            for each in station.cache.of_nbma(remote)
            if not each.installed and each.type in _LEARNT
        ]
        if not waiting:
            return
        failure = Failure(FailureKind.HELD_DOWN, reason, station.circuits.hold_down(remote, now))
        for binding in waiting:
            self._remove(binding, failure, now)

    def intruded(self, remote: Address, now: float) -> None:
        """Drops what another peer behind a peer's outer address claimed through an SA that is being ended."""
        self._claims.intruded(remote, now)
        reason = self._claims.intrusion(remote, now) or ""
        for binding in self._station.cache.of_nbma(remote):
            if binding.type in _LEARNT and binding.created_at > now - INTRUDED_SINCE_S:
                self._refuse(binding, reason, now)

    def deserted(self, reason: str, now: float) -> None:
        """Gives up all direct ways to other spokes: charon has been away for so long that they may lead into nothing.

        The ways to servers stay: nothing could take their place.
        """
        for binding in list(self._station.cache):
            if binding.type is BindingType.CACHED:
                self._remove(binding, Failure.deserted(reason), now)

    def review(self, now: float) -> None:
        """Checks every circuit: our own address changed, or charon has reported all its SAs."""
        circuits = self._station.circuits
        if not circuits.unsure:
            for remote in [each.nbma for each in self._client.servers.registrations()]:
                if not circuits.is_up(remote):
                    self._client.circuit_down(remote, "no security association", now)
                    self._server_lost(remote)
        for remote in self._station.cache.nbma_addresses():
            if circuits.is_up(remote):
                self.circuit_up(remote, now)
                continue
            for binding in self._station.cache.of_nbma(remote):
                self.await_circuit(binding)

    def await_circuit(self, binding: Binding) -> None:
        """Requests the SA for a binding without one, also for a binding of an earlier run: its client may believe in an
        SA that was lost with this machine, and would notice only by IKE's dead peer detection."""
        circuits = self._station.circuits
        if circuits.is_up(binding.nbma) or circuits.unsure:
            return
        was_installed = binding.installed
        self._station.cache.entries.withdraw(binding)
        if binding.type is BindingType.CACHED and not was_installed:
            return  # a requester's word, by which no SA was wanted before either
        if binding.type is BindingType.DYNAMIC and binding.nat:
            reason = "no security association, and the client behind NAT must come by itself"
            self._station.cache.remove(binding, reason)
        elif binding.type is not BindingType.NHS:  # `RegistrationExchange` handles these
            circuits.need(binding.nbma, binding.protocol)

    def _server_lost(self, nbma: Address) -> None:
        """Has entries that lead to a lost NHS lead to the best one that is left."""
        self._station.cache.entries.server_lost(nbma, self._client.servers.best_nbma())

    def _remove(self, binding: Binding, failure: Failure, now: float) -> None:
        """Removes a binding that cannot be used; targets that were resolved to it are negative for a while."""
        targets: set[Address] = set()
        if binding.type is BindingType.CACHED:
            shortcuts = self._station.shortcuts.of_peer(binding.protocol)
            targets = {each.target for each in shortcuts} or {binding.protocol}
        self._station.cache.remove(binding, failure.reason)
        for target in sorted(targets):
            self._requester.leave_alone(target, failure, now)

    def _refuse(self, binding: Binding, denial: str, now: float) -> None:
        self._notify(binding, host_prefix(binding.protocol), denial)
        if binding.type is BindingType.NHS:
            self._client.circuit_down(binding.nbma, denial, now)
        if self._station.cache.get(binding.protocol) is not binding:
            return
        if binding.type is BindingType.STATIC:  # waits for a peer that may have it
            self._withdraw(binding, denial)
            return
        self._remove(binding, Failure.denied(denial), now)

    def _withdraw(self, binding: Binding, reason: str) -> None:
        """Takes a configured binding out of the kernel, but not out of the cache."""
        for shortcut in self._station.shortcuts.of_peer(binding.protocol):
            self._station.shortcuts.remove(shortcut, reason)
        self._station.cache.entries.withdraw(binding)

    def _refuse_shortcut(self, shortcut: Shortcut, denial: str, now: float) -> None:
        self._notify(shortcut.binding, shortcut.prefix, denial)
        self._station.shortcuts.remove(shortcut, denial)
        self._requester.leave_alone(shortcut.target, Failure.denied(denial), now)

    def _notify(self, binding: Binding, prefix: Prefix, denial: str) -> None:
        self._station.outbox.emit(
            ClaimRefused(
                interface=self._station.interface.name,
                protocol=binding.protocol,
                nbma=binding.nbma,
                prefix=prefix,
                reason=denial,
            )
        )
