"""What feeds the source filters of the tunnels (`ipsec.source_filter`), and what they report."""

from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.events import Association, SourceFilterState, WrongSources
from nhrpd_py.core.filter_notices import WrongSource
from nhrpd_py.core.instance.tunnels import Tunnel, Tunnels
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.kernel.tables import KernelTables
from nhrpd_py.core.resolution.table import ResolutionState

MAX_COUNTED = 4096
"""Peers of one tunnel whose wrong sources are counted apart."""


class SourceHandler:
    """Keeps the source filters in line with SAs, routes and settings. Called by the engine and by other handlers."""

    __slots__ = ("_associations", "_outbox", "_tables", "_tunnels")

    def __init__(
        self, tunnels: Tunnels, associations: Associations, tables: KernelTables, outbox: Outbox
    ) -> None:
        self._tunnels = tunnels
        self._associations = associations
        self._tables = tables
        self._outbox = outbox

    # What the filters follow.

    def opened(self, tunnel: Tunnel) -> None:
        """Has the filter of a tunnel that is open now follow the routes over it."""
        interface = tunnel.interface
        sources = interface.circuits.sources
        if sources.active:
            sources.opened(interface.underlay or "")
            for rib in self._tables.ribs.values():
                rib.watch(interface.ifindex, sources)

    def closed(self, ifindex: int, tunnel: Tunnel, *, final: bool) -> None:
        """Has the filter of a tunnel that is closed leave its routes; it stays in the kernel unless that is final."""
        for rib in self._tables.ribs.values():
            rib.unwatch(ifindex)
        if final:
            tunnel.interface.circuits.sources.closed()

    def shut_down(self) -> None:
        """Has all filters removed from the kernel."""
        for tunnel in self._tunnels:
            tunnel.interface.circuits.sources.closed()

    def moved(self, tunnel: Tunnel) -> None:
        """Takes the SAs of our NBMA address, which is another one than before, or whose rules changed."""
        circuits = tunnel.interface.circuits
        circuits.sources.forget_associations()
        if circuits.protected and circuits.local:
            for association in self._associations.from_address(circuits.local):
                self.installed(tunnel, association)

    def installed(self, tunnel: Tunnel, association: Association) -> None:
        """Tells the filter of a tunnel of an SA that is new, or has changed."""
        circuits = tunnel.interface.circuits
        circuits.sources.installed(association, circuits.policy.sources(association))

    def configured(self, tunnel: Tunnel, *, was_active: bool, new_rules: bool) -> None:
        """Applies changed settings of a tunnel to its filter."""
        interface = tunnel.interface
        sources = interface.circuits.sources
        if was_active and not sources.active:
            for rib in self._tables.ribs.values():
                rib.unwatch(interface.ifindex)
        elif sources.active and not was_active:
            self._tell_all(tunnel)
        elif sources.active and new_rules:
            for association in self._associations.from_address(interface.circuits.local):
                self.installed(tunnel, association)

    def _tell_all(self, tunnel: Tunnel) -> None:
        """Tells a filter that was switched on all that it follows, then opens it."""
        interface = tunnel.interface
        sources = interface.circuits.sources
        for instance in tunnel:
            for binding in instance.station.cache:
                sources.bound(binding.protocol, binding.nbma)
            for shortcut in instance.shortcuts:
                sources.leads(shortcut.prefix, shortcut.binding.protocol)
            for resolution in instance.requester.resolutions.values():
                if resolution.state is ResolutionState.ASKING:
                    sources.awaits(resolution.target)
        for remote, circuit in interface.circuits.needed():
            sources.serves(remote, is_server=circuit.to_server)
        self.moved(tunnel)
        if interface.opened:
            self.opened(tunnel)

    # What they report.

    def state_changed(self, event: SourceFilterState) -> None:
        """Notes whether the packet filter of a tunnel is in force."""
        tunnel = self._tunnels.get(event.interface)
        if tunnel is not None:
            tunnel.interface.circuits.sources.defect = event.problem

    def wrong(self, event: WrongSources, now: float) -> None:
        """Counts packets from wrong sources, tells of them, and asks whether they are wrong at all.

        A spoke whose traffic goes one way need not have been asked for by us: the answer to that makes its source a
        right one, and until then it is none. Else a peer could send as whoever does not answer.
        """
        tunnel = self._tunnels.get(event.interface)
        if tunnel is None or not tunnel.interface.circuits.sources.active:
            return
        interface = tunnel.interface
        circuits = interface.circuits
        sources = circuits.sources
        peers = sources.peers(event.mark)
        nbma = peers[0] if peers else b""
        counted = nbma if nbma in sources.wrong or len(sources.wrong) < MAX_COUNTED else b""
        sources.wrong[counted] = sources.wrong.get(counted, 0) + event.packets
        self._outbox.remind(
            (interface.name, nbma, "source"),
            WrongSource(
                interface=interface.name,
                nbma=nbma,
                identity=circuits.identity(nbma) or "",
                source=event.source,
                packets=event.packets,
                dropped=sources.drops,
            ),
            now,
        )
        if event.source and nbma and interface.config.shortcut and not sources.is_server(nbma):
            requester = tunnel.of(event.source).requester
            sources.doubted = event.source
            requester.follow(event.source, nbma, nbma, now)
            sources.doubted = None
