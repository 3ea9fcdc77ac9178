"""What an instance does when a circuit comes up, goes down, or cannot be had.

Bindings and shortcuts are known to the cache before their circuit is up and go into the kernel with it. With the
circuit go all that was learnt over it: clients and peers come again, over a new SA. A peer that IKE cannot reach is
left alone for a while, and traffic stays on the hub. Owned by the instance; the engine calls it for protected
interfaces only.
"""

from collections.abc import Callable

from nhrpd_py.core.address import Address, Prefix, host_prefix
from nhrpd_py.core.notices import ClaimRefused
from nhrpd_py.core.registration.client import NhsClient
from nhrpd_py.core.registration.servers import NhsState
from nhrpd_py.core.resolution.requester import REFUSED_S, Requester
from nhrpd_py.core.station.binding import Binding, BindingType
from nhrpd_py.core.station.shortcuts import Shortcut, ShortcutTable
from nhrpd_py.core.station.station import Station


class Dependents:
    """See the module."""

    __slots__ = ("_ask_again", "_client", "_requester", "_shortcuts", "_station")

    def __init__(
        self,
        station: Station,
        client: NhsClient,
        requester: Requester,
        shortcuts: ShortcutTable,
        ask_again: Callable[[Binding, float], None],
    ) -> None:
        self._station = station
        self._client = client
        self._requester = requester
        self._shortcuts = shortcuts
        self._ask_again = ask_again
        """Asks an adopted client to register."""

    def came_up(self, remote: Address, now: float) -> None:
        """The peer has an SA, or one more: what waited for it goes into the kernel, as far as the peer may have it."""
        station = self._station
        for binding in station.cache.of_nbma(remote):
            if self._may_stay(binding, now) and not binding.programmed:
                station.cache.reassert_one(binding)
            if binding.adopted:
                self._ask_again(binding, now)
        self._client.circuit_up(remote, now)

    def reauthorize(self, now: float) -> None:
        """Who may claim what is another matter now: looks at all that was claimed, and lets refused servers try."""
        circuits = self._station.circuits
        for remote in self._station.cache.nbma_addresses():
            if circuits.is_up(remote):
                for binding in self._station.cache.of_nbma(remote):
                    if self._may_stay(binding, now) and not binding.programmed:
                        self._station.cache.reassert_one(binding)
        for registration in list(self._client.registrations()):
            idle = registration.state is NhsState.PROBE and registration.next_at is None
            if idle and circuits.is_up(registration.nbma):
                self._client.register_now(now, registration.nbma)

    def _may_stay(self, binding: Binding, now: float) -> bool:
        """Drops what the peer behind a binding may not claim; tells whether the binding itself stays."""
        circuits = self._station.circuits
        denial = circuits.address_denial(binding.nbma, binding.protocol)
        if denial is not None:
            self._refuse(binding, denial, now)
            return False
        for shortcut in self._shortcuts.of_peer(binding.protocol):
            denial = circuits.prefix_denial(binding.nbma, shortcut.prefix)
            if denial is not None:
                self._refuse_shortcut(shortcut, denial, now)
        return True

    def went_down(self, remote: Address, reason: str, now: float) -> None:
        """The last SA with the peer is gone."""
        self._client.circuit_down(remote, reason, now)
        self._requester.server_unreachable(remote)
        for binding in self._station.cache.of_nbma(remote):
            if binding.type is BindingType.STATIC:
                self._withdraw(binding, reason)
            else:
                self._shortcuts.forget_binding(binding, reason)

    def failed(self, remote: Address, reason: str, now: float) -> None:
        """An attempt to get an SA failed: who waited for it looks elsewhere, for a while."""
        station = self._station
        self._client.circuit_failed(remote, reason, now)
        waiting = [
            each
            for each in station.cache.of_nbma(remote)
            if not each.programmed and each.type in (BindingType.CACHED, BindingType.DYNAMIC)
        ]
        if not waiting:
            return
        rest_s = station.circuits.give_up(remote, now)
        for binding in waiting:
            targets = self._targets(binding)
            self._shortcuts.forget_binding(binding, reason)
            for target in targets:
                self._requester.leave_alone(target, reason, rest_s, now)

    def review(self, now: float) -> None:
        """Our own address is another one, or charon has told all there is: looks at every circuit anew."""
        circuits = self._station.circuits
        if not circuits.unsure:
            for remote in [each.nbma for each in self._client.registrations()]:
                if not circuits.is_up(remote):
                    self._client.circuit_down(remote, "no security association", now)
                    self._requester.server_unreachable(remote)
        for remote in self._station.cache.nbma_addresses():
            if circuits.is_up(remote):
                self.came_up(remote, now)
                continue
            for binding in self._station.cache.of_nbma(remote):
                self.await_circuit(binding)

    def await_circuit(self, binding: Binding) -> None:
        """A binding without a circuit. One of an earlier run is worth to be called back: its client may believe in an
        SA that died with this machine, and would find out only by IKE's dead peer detection."""
        circuits = self._station.circuits
        if circuits.is_up(binding.nbma) or circuits.unsure:
            return
        self._station.cache.withdraw(binding)
        if binding.type is BindingType.DYNAMIC and binding.nat:
            reason = "no security association, and the client behind NAT must come by itself"
            self._shortcuts.forget_binding(binding, reason)
        elif binding.type is not BindingType.NHS:  # those are the registration's business
            circuits.want(binding.nbma, binding.protocol)

    def _targets(self, binding: Binding) -> list[Address]:
        """What was asked for and led to this binding."""
        if binding.type is not BindingType.CACHED:
            return []
        targets = {each.target for each in self._shortcuts.of_peer(binding.protocol)}
        return sorted(targets or {binding.protocol})

    def _refuse(self, binding: Binding, denial: str, now: float) -> None:
        self._tell(binding, host_prefix(binding.protocol), denial)
        if binding.type is BindingType.NHS:
            self._client.circuit_down(binding.nbma, denial, now)
        if self._station.cache.get(binding.protocol) is not binding:
            return
        if binding.type is BindingType.STATIC:  # the operator's: it waits for who may have it
            self._withdraw(binding, denial)
            return
        targets = self._targets(binding)
        self._shortcuts.forget_binding(binding, denial)
        for target in targets:
            self._requester.leave_alone(target, denial, REFUSED_S, now)

    def _withdraw(self, binding: Binding, reason: str) -> None:
        """Takes a configured binding out of the kernel, but not out of the cache."""
        for shortcut in self._shortcuts.of_peer(binding.protocol):
            self._shortcuts.remove(shortcut, reason)
        self._station.cache.withdraw(binding)

    def _refuse_shortcut(self, shortcut: Shortcut, denial: str, now: float) -> None:
        self._tell(shortcut.binding, shortcut.prefix, denial)
        self._shortcuts.remove(shortcut, denial)
        self._requester.leave_alone(shortcut.target, denial, REFUSED_S, now)

    def _tell(self, binding: Binding, prefix: Prefix, denial: str) -> None:
        self._station.outbox.emit(
            ClaimRefused(
                interface=self._station.interface.name,
                protocol=binding.protocol,
                nbma=binding.nbma,
                prefix=prefix,
                reason=denial,
            )
        )
