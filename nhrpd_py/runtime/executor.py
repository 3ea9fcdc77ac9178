"""Carries out the engine's effects, in their order, synchronously.

Nothing here waits: packets are sent or counted as lost, kernel store and resolver only note the
wanted state or name, and an answer wakes the control request that waits for it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from nhrpd_py.core.address import Address
from nhrpd_py.core.effects import (
    AllowSources,
    AnswerCommand,
    CloseInterface,
    DropNeighbor,
    DropRoute,
    DropSa,
    Effect,
    EndSa,
    FilterSources,
    ForgetMark,
    Halt,
    OpenInterface,
    ProtectedGre,
    ResolveName,
    SendMulticast,
    SendPacket,
    SetNeighbor,
    SetRoute,
    UnfilterSources,
    WantSa,
)
from nhrpd_py.core.events import Event, InterfaceRefused
from nhrpd_py.core.notices import Notice
from nhrpd_py.runtime.guard.policies import GuardError


class PacketVerbs(Protocol):
    """The methods of the packet sockets that the executor calls."""

    def open(self, ifindex: int) -> None: ...
    def close(self, ifindex: int) -> None: ...
    def send(self, ifindex: int, nbma: Address, data: bytes) -> None: ...


class MulticastVerbs(Protocol):
    """The methods of the sender of multicast that the executor calls."""

    def send(self, effect: SendMulticast) -> None: ...
    def close(self, ifindex: int) -> None: ...


class KernelVerbs(Protocol):
    """The methods of the kernel store that the executor calls."""

    def set_neighbor(self, effect: SetNeighbor) -> None: ...
    def drop_neighbor(self, effect: DropNeighbor) -> None: ...
    def set_route(self, effect: SetRoute) -> None: ...
    def drop_route(self, effect: DropRoute) -> None: ...
    def open_interface(self, effect: OpenInterface) -> None: ...
    def close_interface(self, effect: CloseInterface) -> None: ...


class GuardVerbs(Protocol):
    """The methods of the clear-text guard that the executor calls."""

    def protect(self, name: str, ifindex: int, gre: ProtectedGre) -> None: ...
    def uses(self, name: str, local: Address, remote: Address) -> None: ...
    def leaves(self, name: str, local: Address, remote: Address) -> None: ...


class FilterVerbs(Protocol):
    """The methods of the source filters that the executor calls."""

    def filter(self, effect: FilterSources) -> None: ...
    def unfilter(self, effect: UnfilterSources) -> None: ...
    def allow(self, effect: AllowSources) -> None: ...
    def forget(self, effect: ForgetMark) -> None: ...


class SaVerbs(Protocol):
    """The methods of the VICI supervisor that the executor calls."""

    def want(self, effect: WantSa) -> None: ...
    def drop(self, effect: DropSa) -> None: ...
    def end(self, effect: EndSa) -> None: ...


class Executor:
    """Hands each effect of the engine to the adapter that carries it out."""

    def __init__(
        self,
        *,
        packets: PacketVerbs,
        multicast: MulticastVerbs,
        kernel: KernelVerbs,
        guard: GuardVerbs,
        filters: FilterVerbs,
        supervisor: SaVerbs,
        resolve: Callable[[str], None],
        answer: Callable[[AnswerCommand], None],
        publish: Callable[[Notice], None],
        recall: Callable[[int, str], Sequence[Event]],
        report: Callable[[Sequence[Event]], None],
    ) -> None:
        """`recall` returns the bindings of an earlier run on an interface; `report` puts events
        into the inbox without loss."""
        self._packets = packets
        self._multicast = multicast
        self._kernel = kernel
        self._guard = guard
        self._supervisor = supervisor
        self._recall = recall
        self._report = report
        self._halted = False
        self._publish = publish
        self._verbs: dict[type, Callable[[Any], None]] = {
            SendMulticast: multicast.send,
            SetNeighbor: kernel.set_neighbor,
            DropNeighbor: kernel.drop_neighbor,
            SetRoute: kernel.set_route,
            DropRoute: kernel.drop_route,
            OpenInterface: self._open_interface,
            CloseInterface: self._close_interface,
            WantSa: self._want_sa,
            DropSa: self._drop_sa,
            EndSa: supervisor.end,
            FilterSources: filters.filter,
            UnfilterSources: filters.unfilter,
            AllowSources: filters.allow,
            ForgetMark: filters.forget,
            ResolveName: lambda effect: resolve(effect.name),
            AnswerCommand: answer,
            Halt: self._halt,
        }

    def execute(self, effects: Sequence[Effect]) -> bool:
        """Carries effects out; returns whether `Halt` was among them."""
        send = self._packets.send
        verbs = self._verbs
        for effect in effects:
            kind = type(effect)
            if kind is SendPacket:
                send(effect.ifindex, effect.nbma, effect.data)  # type: ignore[union-attr]
            elif kind in verbs:
                verbs[kind](effect)
            else:
                self._learn(kind)(effect)
        return self._halted

    def _learn(self, kind: type) -> Callable[[Any], None]:
        """Returns the function for notices of one type; added at the first one, for there are many
        types."""
        if not issubclass(kind, Notice):
            raise TypeError(f"no adapter carries out {kind.__name__}")
        self._verbs[kind] = self._publish
        return self._publish

    def _open_interface(self, effect: OpenInterface) -> None:
        if effect.guard is not None:
            try:
                self._guard.protect(effect.name, effect.ifindex, effect.guard)
            except GuardError as error:
                self._report([InterfaceRefused(effect.ifindex, str(error), exposed=True)])
                return
        try:
            self._packets.open(effect.ifindex)
        except OSError as error:
            reason = f"cannot receive packets: {error.strerror or error}"
            self._report([InterfaceRefused(effect.ifindex, reason)])
            return
        # The state file comes first: it has the holding times, which the kernel's entries lack.
        known = self._recall(effect.ifindex, effect.name)
        if known:
            self._report(known)
        self._kernel.open_interface(effect)

    def _close_interface(self, effect: CloseInterface) -> None:
        self._packets.close(effect.ifindex)
        self._multicast.close(effect.ifindex)
        self._kernel.close_interface(effect)

    def _want_sa(self, effect: WantSa) -> None:
        self._guard.uses(effect.interface, effect.local, effect.remote)
        self._supervisor.want(effect)

    def _drop_sa(self, effect: DropSa) -> None:
        self._guard.leaves(effect.interface, effect.local, effect.remote)
        self._supervisor.drop(effect)

    def _halt(self, _effect: Halt) -> None:
        self._halted = True
