"""The kernel's neighbour entries and host routes for the bindings of one interface and address family.

A binding has an entry that leads to its own NBMA address while packets can go there: its circuit is up, and its path is
proven if it was learnt by resolution (`paths`). It has a host route unless a connected prefix of the tunnel covers it:

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
from nhrpd_py.core.station.binding import Binding, BindingType, Entry
from nhrpd_py.core.station.interface import Interface
from nhrpd_py.core.station.paths import Paths
from nhrpd_py.core.station.shortcuts import ShortcutTable


class NeighborEntries:
    """Moves the `entry` of bindings. `bindings` are the cache's own, by overlay address."""

    __slots__ = ("_bindings", "_interface", "_outbox", "_paths", "_servers", "_shortcuts")

    def __init__(
        self,
        bindings: Mapping[Address, Binding],
        shortcuts: ShortcutTable,
        interface: Interface,
        paths: Paths,
        outbox: Outbox,
    ) -> None:
        self._bindings = bindings
        self._shortcuts = shortcuts
        self._interface = interface
        self._paths = paths
        self._outbox = outbox
        self._servers: dict[Address, Address] = {}
        """By overlay address: the NBMA address of the server that its entry leads to."""

    # Entries that lead to the binding's own NBMA address.

    def install(self, binding: Binding) -> None:
        """Installs neighbour and route, again if they are installed; withdraws them while the circuit is down."""
        if not self._interface.opened:
            return  # the cache installs all of them when it opens
        circuits = self._interface.circuits
        if circuits.carries(binding.nbma) and self._may_take_path(binding):
            self._put(binding, Entry.DIRECT)
        elif binding.entry in (Entry.INHERITED, Entry.STALE) and circuits.unsure:
            # A STALE one without a circuit was inherited: one of this run goes with its circuit.
            self._put(binding, Entry.INHERITED)
        else:
            self.withdraw(binding)

    def moved(self, binding: Binding) -> None:
        """Follows a binding to another NBMA address; traffic goes over the hub until the path there is proven."""
        if binding.type is BindingType.CACHED and not self._paths.carries(binding.nbma):
            self.withdraw(binding)
        else:
            self.install(binding)

    def _may_take_path(self, binding: Binding) -> bool:
        """Returns whether the kernel may send straight to a peer.

        What was learnt by resolution needs a proven path; clients and servers were heard, and maps are the operator's.
        An entry of an earlier run keeps its traffic while its path is tried.
        """
        if binding.type is not BindingType.CACHED or self._paths.carries(binding.nbma):
            return True
        return binding.installed and not self._paths.has_failed(binding.nbma)

    def inherit(self, binding: Binding) -> None:
        """Keeps an entry of an earlier run until charon has reported its SAs; deletes it if its circuit is down."""
        interface = self._interface
        if interface.circuits.carries(binding.nbma):
            self._put(binding, Entry.DIRECT)
        elif interface.circuits.unsure:
            self._put(binding, Entry.INHERITED)
        else:
            self._outbox.emit(DropNeighbor(interface.ifindex, binding.protocol))

    def circuit_up(self, binding: Binding) -> None:
        """Installs a binding whose circuit came up; an inherited entry is in the kernel already."""
        if binding.entry is Entry.INHERITED:
            binding.entry = Entry.DIRECT
        elif not binding.installed:
            self.install(binding)

    def withdraw(self, binding: Binding) -> None:
        """Removes route and neighbour from the kernel, if installed; the binding stays in the cache."""
        if not binding.installed:
            return
        self._shortcuts.peer_withdrawn(binding.protocol)
        self._interface.link_locals.left(binding.nbma)
        binding.entry = Entry.NONE
        self._fit_route(binding, wanted=False)
        self._outbox.emit(DropNeighbor(self._interface.ifindex, binding.protocol))

    def probe(self, binding: Binding) -> None:
        """Sets an installed entry STALE, so that the kernel probes it when traffic uses it."""
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
        """Removes everything of a binding from the kernel: it leaves the cache."""
        self._servers.pop(binding.protocol, None)
        if not self._interface.opened:
            return
        self._fit_route(binding, wanted=False)
        self._outbox.emit(DropNeighbor(self._interface.ifindex, binding.protocol))

    def refit_routes(self) -> None:
        """Adds or withdraws host routes after the tunnel's connected prefixes changed."""
        if not self._interface.opened:
            return
        for binding in self._bindings.values():
            wanted = binding.installed and not self._interface.on_link(binding.protocol)
            if wanted != binding.routed:
                self._fit_route(binding, wanted=wanted)

    def set_mtu(self, binding: Binding, mtu: int) -> None:
        """Sets the MTU that a peer told; installs the routes over it again where theirs is another one now."""
        before = self._interface.route_mtu(binding.protocol, binding.mtu)
        binding.mtu = mtu
        if self._interface.route_mtu(binding.protocol, mtu) != before:
            self._set_routes_over(binding)

    def tunnel_mtu_changed(self) -> None:
        """Installs the routes over all peers that told an MTU again: the tunnel's may be the smaller one now."""
        for binding in self._bindings.values():
            if binding.mtu:
                self._set_routes_over(binding)

    def detach(self) -> None:
        """Forgets all entries without an effect: the netdev is down or gone, and the kernel's entries with it."""
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
        self._fit_route(binding, wanted=not self._interface.on_link(binding.protocol))
        if not was_installed:
            self._shortcuts.peer_installed(binding.protocol)

    def _set_routes_over(self, binding: Binding) -> None:
        if binding.routed:
            self._set_route(binding)
        self._shortcuts.peer_installed(binding.protocol)

    def _fit_route(self, binding: Binding, *, wanted: bool) -> None:
        """Installs the host route, again if it is there, or withdraws it."""
        if wanted:
            self._set_route(binding)
        elif binding.routed:
            self._outbox.emit(DropRoute(host_prefix(binding.protocol), self._interface.ifindex))
        binding.routed = wanted

    def _set_route(self, binding: Binding) -> None:
        interface = self._interface
        mtu = interface.route_mtu(binding.protocol, binding.mtu)
        route = SetRoute(host_prefix(binding.protocol), interface.ifindex, mtu=mtu)
        self._outbox.emit(route)

    # Entries that lead to a server.

    def server_of(self, protocol: Address) -> Address:
        """Returns the NBMA address of the server that an address's entry leads to; empty when it leads to none."""
        return self._servers.get(protocol, b"")

    def lead_to_server(self, protocol: Address, server: Address) -> None:
        """Has the kernel send the traffic for an address to a server, unless its binding is installed."""
        binding = self._bindings.get(protocol)
        if binding is not None:
            if binding.installed:
                return
            binding.entry = Entry.VIA_SERVER
        self._servers[protocol] = server
        self._outbox.emit(SetNeighbor(self._interface.ifindex, protocol, server))

    def keep_server(self, binding: Binding) -> None:
        """Marks a new binding whose address has an entry to a server; the entry stays until it is installed."""
        if binding.protocol in self._servers:
            binding.entry = Entry.VIA_SERVER

    def leave_server(self, protocol: Address) -> None:
        """Removes the entry of an address if it leads to a server."""
        if self._servers.pop(protocol, None) is None:
            return
        binding = self._bindings.get(protocol)
        if binding is not None:
            binding.entry = Entry.NONE
        if self._interface.opened:
            self._outbox.emit(DropNeighbor(self._interface.ifindex, protocol))

    def best_server_changed(self, best: Address) -> None:
        """Has all these entries lead to the best server, which is another one now: the former may be dead."""
        for protocol, server in list(self._servers.items()):
            if server != best:
                self.lead_to_server(protocol, best)

    def server_lost(self, lost: Address, best: Address) -> None:
        """Has the entries of a lost server lead to the best one that is left; with an empty `best` removes them."""
        for protocol, server in list(self._servers.items()):
            if server != lost:
                continue
            if best:
                self.lead_to_server(protocol, best)
            else:
                self.leave_server(protocol)
