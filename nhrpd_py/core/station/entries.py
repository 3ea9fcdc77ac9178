"""The kernel's neighbour entries and host routes for the bindings of one interface and address family.

A binding has an entry that leads to its own NBMA address while packets can go there, and a host route unless a
connected prefix of the tunnel covers it:

    NONE ──(the circuit is up)──► DIRECT ──(near its end)──► STALE ──(the kernel probes it: used)──► DIRECT
     │ ▲                             ▲
     │ └──(the circuit is down; from DIRECT and STALE too)
     ├──(the kernel asks for it)──► VIA_SERVER ──(the circuit is up)──► DIRECT
     └──(found at the start)──────► INHERITED ──(charon has told: up)──► DIRECT, (not up)──► NONE
                                        └──(near its end)──► STALE ──(used)──► INHERITED

For an address that the kernel asks for and that has no binding yet, the entry leads to a next hop server as well:
packets go on along the routed path while there is no answer, or a negative one (RFC 2332 §5.2.1).

Routes go in after neighbours and out before them; shortcuts follow their peer's entry. Nothing is emitted for a closed
tunnel. Owned by the cache.
"""

from collections.abc import Mapping

from nhrpd_py.core.address import Address, host_prefix
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.effects import DropNeighbor, DropRoute, NeighborState, SetNeighbor, SetRoute
from nhrpd_py.core.station.binding import Binding, Entry
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.shortcuts import ShortcutTable


class NeighborEntries:
    """Moves the `entry` of bindings. `bindings` are the cache's own, by overlay address."""

    __slots__ = ("_bindings", "_interface", "_outbox", "_servers", "_shortcuts")

    def __init__(
        self,
        bindings: Mapping[Address, Binding],
        shortcuts: ShortcutTable,
        interface: Interface,
        outbox: Outbox,
    ) -> None:
        self._bindings = bindings
        self._shortcuts = shortcuts
        self._interface = interface
        self._outbox = outbox
        self._servers: dict[Address, Address] = {}
        """By overlay address: the NBMA address of the server that its entry leads to."""

    # To the binding's own NBMA address.

    def install(self, binding: Binding) -> None:
        """Asks for neighbour and route, once more where they were asked for before; without a circuit withdraws
        them."""
        if not self._interface.opened:
            return  # the cache installs all of them when it opens
        circuits = self._interface.circuits
        if circuits.carries(binding.nbma):
            self._put(binding, Entry.DIRECT)
        elif binding.entry in (Entry.INHERITED, Entry.STALE) and circuits.unsure:
            # A STALE one without a circuit was inherited: one of this run goes with its circuit.
            self._put(binding, Entry.INHERITED)
        else:
            self.withdraw(binding)

    def inherit(self, binding: Binding) -> None:
        """The kernel has the entry from an earlier run: keeps it until charon has told, or takes it back."""
        interface = self._interface
        if interface.circuits.carries(binding.nbma):
            self._put(binding, Entry.DIRECT)
        elif interface.circuits.unsure:
            self._put(binding, Entry.INHERITED)
        else:
            self._outbox.emit(DropNeighbor(interface.ifindex, binding.protocol))

    def circuit_up(self, binding: Binding) -> None:
        """The circuit is up: installs what waited for that; what was inherited is in the kernel already."""
        if binding.entry is Entry.INHERITED:
            binding.entry = Entry.DIRECT
        elif not binding.installed:
            self.install(binding)

    def withdraw(self, binding: Binding) -> None:
        """Takes route and neighbour back, where there are any; the binding stays, for when its circuit is up."""
        if not binding.installed:
            return
        self._shortcuts.peer_withdrawn(binding.protocol)
        binding.entry = Entry.NONE
        ifindex = self._interface.ifindex
        if binding.routed:
            binding.routed = False
            self._outbox.emit(DropRoute(host_prefix(binding.protocol), ifindex))
        self._outbox.emit(DropNeighbor(ifindex, binding.protocol))

    def probe(self, binding: Binding) -> None:
        """Has the kernel tell us whether traffic uses the entry, if it is installed."""
        if not binding.installed:
            return
        binding.used = False
        binding.entry = Entry.STALE
        self._outbox.emit(
            SetNeighbor(
                self._interface.ifindex, binding.protocol, binding.nbma, NeighborState.STALE
            )
        )

    def remove(self, binding: Binding) -> None:
        """The binding goes: takes all that is there of it out of the kernel."""
        self._servers.pop(binding.protocol, None)
        if not self._interface.opened:
            return
        ifindex = self._interface.ifindex
        if binding.routed:
            self._outbox.emit(DropRoute(host_prefix(binding.protocol), ifindex))
        self._outbox.emit(DropNeighbor(ifindex, binding.protocol))

    def refit_routes(self) -> None:
        """Adds or withdraws host routes after the tunnel's connected prefixes changed."""
        if not self._interface.opened:
            return
        for binding in self._bindings.values():
            wanted = binding.installed and not self._interface.on_link(binding.protocol)
            if wanted == binding.routed:
                continue
            binding.routed = wanted
            prefix = host_prefix(binding.protocol)
            ifindex = self._interface.ifindex
            self._outbox.emit(SetRoute(prefix, ifindex) if wanted else DropRoute(prefix, ifindex))

    def detach(self) -> None:
        """The netdev is down or gone: nothing of this is in the kernel any more."""
        for binding in self._bindings.values():
            binding.entry = Entry.NONE
            binding.routed = False
        self._servers.clear()

    def _put(self, binding: Binding, entry: Entry) -> None:
        """Enters DIRECT or INHERITED; the entry replaces one that led to a server."""
        was_installed = binding.installed
        binding.entry = entry
        self._servers.pop(binding.protocol, None)
        ifindex = self._interface.ifindex
        self._outbox.emit(SetNeighbor(ifindex, binding.protocol, binding.nbma))
        binding.routed = not self._interface.on_link(binding.protocol)
        if binding.routed:
            self._outbox.emit(SetRoute(host_prefix(binding.protocol), ifindex))
        if not was_installed:
            self._shortcuts.peer_installed(binding.protocol)

    # To a server.

    def server_of(self, protocol: Address) -> Address:
        """Returns the NBMA address of the server that an address's entry leads to; empty when it leads to none."""
        return self._servers.get(protocol, b"")

    def lead_to_server(self, protocol: Address, server: Address) -> None:
        """Has the kernel send what it has for an address to a server, unless its binding is installed."""
        binding = self._bindings.get(protocol)
        if binding is not None:
            if binding.installed:
                return
            binding.entry = Entry.VIA_SERVER
        self._servers[protocol] = server
        self._outbox.emit(SetNeighbor(self._interface.ifindex, protocol, server))

    def keep_server(self, binding: Binding) -> None:
        """An address has a binding now: while that is not installed, its entry leads to the server as before."""
        if binding.protocol in self._servers:
            binding.entry = Entry.VIA_SERVER

    def leave_server(self, protocol: Address) -> None:
        """Takes back the entry of an address that leads to a server, where there is one."""
        if self._servers.pop(protocol, None) is None:
            return
        binding = self._bindings.get(protocol)
        if binding is not None:
            binding.entry = Entry.NONE
        if self._interface.opened:
            self._outbox.emit(DropNeighbor(self._interface.ifindex, protocol))

    def best_server_changed(self, best: Address) -> None:
        """Another next hop server is the best one now: traffic that it relays for us must not go to a dead one."""
        for protocol, server in list(self._servers.items()):
            if server != best:
                self.lead_to_server(protocol, best)

    def server_lost(self, lost: Address, best: Address) -> None:
        """Nothing can be sent to a server any more: its entries lead to the best one left; empty: nowhere."""
        for protocol, server in list(self._servers.items()):
            if server != lost:
                continue
            if best:
                self.lead_to_server(protocol, best)
            else:
                self.leave_server(protocol)
