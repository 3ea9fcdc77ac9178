"""Which next hop servers we register with, by name, address, cluster and priority.

Each configured NHS is a `Server`; each NBMA address that its name has is a `Registration` of its own, which the
`exchange` moves from state to state. Within a cluster a worse priority is asked only while no better one is up or on
its first tries. One that is up is left when a better one is, and not for a mere hope. Owned by the instance.
"""

from nhrpd_py.core.address import Address, is_unicast, parse_address
from nhrpd_py.core.base.timers import TimerKey, TimerKind
from nhrpd_py.core.config import NhsConfig
from nhrpd_py.core.effects import ResolveName
from nhrpd_py.core.notices import NameUnresolved
from nhrpd_py.core.registration.claims import Claims
from nhrpd_py.core.registration.exchange import RegistrationExchange
from nhrpd_py.core.registration.servers import NAME_RETRY_S, NhsState, Registration, Server, Servers
from nhrpd_py.core.station.station import Station

NAME_MAX_RETRY_S = 60.0
NAME_REFRESH_S = 300.0
"""Until a name is looked up again, since getaddrinfo gives no TTL; a lost NHS's name is looked up at once."""
MAX_ADDRESSES_PER_NAME = 16


class NhsClient:
    """All NHSs of one station. `active` while the station can register at all. Owned by the instance."""

    __slots__ = ("_exchange", "_last_index", "_station", "active", "servers")

    def __init__(self, station: Station, servers: Servers, claims: Claims) -> None:
        self._station = station
        self.servers = servers
        self._exchange = RegistrationExchange(station, servers, claims, listener=self)
        self.active = False
        self._last_index = -1
        self.servers.replace([self._server(config) for config in self._configured()])

    def start(self, now: float) -> None:
        """Registers with all wanted NHSs at once: the station became ready, or its addresses changed."""
        self.active = True
        for registration in self.servers.registrations():
            if not registration.is_idle:
                self._exchange.restart(registration, now)
        for server in self.servers:
            if server.literal:
                self._set_addresses(server, (server.literal,), now)
            else:
                self._leave_former(server, now)
                self._resolve(server)  # also where addresses are known: they may be old by now
        self._choose(now)

    def configure(self, now: float) -> None:
        """Applies a changed list of servers or priorities; servers that stay keep their registrations."""
        old = {(each.config.protocol, each.config.nbma): each for each in self.servers}
        servers: list[Server] = []
        for config in self._configured():
            server = old.pop((config.protocol, config.nbma), None)
            if server is None:
                server = self._server(config)
            server.config = config
            servers.append(server)
        for gone in old.values():
            _inherit(gone, servers)
            self._leave(gone, now)
        self.servers.replace(servers)
        if not self.active:
            return
        for server in servers:
            if server.registrations:
                continue
            if server.literal:
                self._set_addresses(server, (server.literal,), now)
            elif self._station.timers.deadline(self._resolve_key(server)) is None:
                self._resolve(server)
        self._choose(now)

    def renew_sooner(self, now: float) -> None:
        """Moves renewals forward where a changed holding time requires it."""
        for registration in self.servers.registrations():
            self._exchange.renew_sooner(registration, now)

    def _leave(self, server: Server, now: float) -> None:
        for registration in list(server.registrations.values()):
            self._exchange.end(registration, NhsState.DOWN, "it is no longer configured", now)
            self._station.cache.entries.server_lost(registration.nbma, self.servers.best_nbma())
        self._station.timers.stop(self._resolve_key(server))

    def _configured(self) -> list[NhsConfig]:
        """Returns the configured servers of our family, and those whose address is to be learnt."""
        return [
            each
            for each in self._station.config.nhs
            if each.protocol is None or len(each.protocol) * 8 == self._station.host_length
        ]

    def _server(self, config: NhsConfig) -> Server:
        self._last_index += 1
        return Server(self._last_index, config, _literal(config.nbma))

    def stop(self) -> None:
        """Stops registering: the station is not ready any more. Bindings stay; the kernel goes on forwarding."""
        self.active = False
        for server in self.servers:
            self._station.timers.stop(self._resolve_key(server))
            server.resolving = False  # a result that arrives meanwhile is ignored
            for registration in server.registrations.values():
                self._exchange.release(registration)

    def register_now(self, now: float, nbma: Address) -> None:
        """Registers at once with the NHS at an NBMA address, if there is one: it may have lost our registration."""
        for registration in self.servers.at(nbma):
            # A first request is under way; a flood of Purges must not displace its id again and again.
            is_asking = bool(registration.request_id) and not registration.lost
            if not registration.is_idle and not is_asking:
                self._exchange.restart(registration, now)

    def circuit_up(self, nbma: Address, now: float) -> None:
        """Registers at once over a new SA: a server that made a new one may have lost our registration."""
        self.register_now(now, nbma)

    def circuit_down(self, nbma: Address, reason: str, now: float) -> None:
        """Passes the loss of the last SA on to the registrations at an NBMA address."""
        for registration in self.servers.at(nbma):
            self._exchange.circuit_down(registration, reason, now)

    def circuit_failed(self, nbma: Address, reason: str, now: float) -> None:
        """Passes the failure to make an SA on to the registrations at an NBMA address."""
        for registration in self.servers.at(nbma):
            self._exchange.circuit_failed(registration, reason, now)

    def unauthenticated(self, request_id: int, nbma: Address, *, signed: bool) -> None:
        """Passes an answer without our pass phrase on to its registration; `signed`: it has another one."""
        for registration in self.servers.at(nbma):
            if request_id and registration.request_id == request_id:
                self._exchange.unauthenticated(registration, signed=signed)

    def undelivered(self, nbma: Address, reason: str, now: float) -> None:
        """Passes on what the network tells of packets to an NBMA address."""
        for registration in self.servers.at(nbma):
            self._exchange.undelivered(registration, reason, now)

    def name_resolved(
        self, name: str, addresses: tuple[Address, ...], error: str | None, now: float
    ) -> bool:
        """Takes the answer of DNS; returns whether a server has an address that it did not have."""
        is_new = False
        for server in self.servers:
            if server.literal or server.config.nbma != name or not self.active:
                continue
            server.resolving = False
            own = self._station.interface.nbma
            usable = [
                each
                for each in addresses
                if len(each) == len(own) and each != own and is_unicast(each)
            ]
            if usable:
                server.name_error = None
                server.name_retry_s = NAME_RETRY_S
                known = set(server.registrations)
                self._set_addresses(server, tuple(usable[:MAX_ADDRESSES_PER_NAME]), now)
                is_new = is_new or not known.issuperset(server.registrations)
                again_s = self._station.jitter(NAME_REFRESH_S)
            else:
                # A name that resolved before keeps its addresses.
                nobody = (
                    "the name leads to this machine alone"
                    if own in addresses
                    else "the name has no usable address of the underlay's family"
                )
                server.name_error = error or nobody
                self._station.outbox.emit(
                    NameUnresolved(
                        interface=self._station.interface.name, name=name, reason=server.name_error
                    )
                )
                again_s = server.name_retry_s
                server.name_retry_s = min(server.name_retry_s * 2, NAME_MAX_RETRY_S)
            self._station.timers.set(self._resolve_key(server), now + again_s)
        self._choose(now)
        return is_new

    def resolve_due(self, index: int) -> None:
        for server in self.servers:
            if server.index == index:
                self._resolve(server)

    def send_due(self, index: int, nbma: Address, now: float) -> None:
        """Sends the next request: the renewal is due, or the reply is overdue."""
        registration = next(
            (
                each
                for each in self.servers.registrations()
                if (each.server.index, each.nbma) == (index, nbma)
            ),
            None,
        )
        if registration is not None:
            self._exchange.send_due(registration, now)

    def deregister(self) -> None:
        """Takes all our registrations back: we are stopping, or our address changed."""
        for registration in self.servers.registrations():
            if registration.state is NhsState.UP:
                self._exchange.deregister(registration)

    def server_up(self, now: float) -> None:
        """Leaves servers of worse priority, and former addresses: a server came up."""
        for server in self.servers:
            self._leave_former(server, now)
        self._choose(now)

    def server_lost(self, server: Server, now: float) -> None:
        """Looks a lost server's name up again, and registers with servers of worse priority."""
        self._leave_former(server, now)
        self._resolve(server)
        self._choose(now)

    def _choose(self, now: float) -> None:
        """Begins and ends registrations by the priorities within each cluster."""
        if not self.active:
            return
        for server in self.servers:
            better = [
                other
                for other in self.servers
                if other.config.cluster == server.config.cluster
                and other.config.priority < server.config.priority
            ]
            waits = any(each.is_hopeful for each in better)
            is_relieved = any(each.is_up for each in better)
            for registration in server.registrations.values():
                if registration.is_idle and waits:
                    self._exchange.stand_by(registration)
                elif registration.is_idle:
                    self._exchange.begin(registration, now)
                elif is_relieved or (waits and registration.state is not NhsState.UP):
                    self._exchange.end(
                        registration, NhsState.STANDBY, "a better next hop server is up", now
                    )
        best = self.servers.best_nbma()
        if best:
            self._station.cache.entries.best_server_changed(best)

    def _set_addresses(self, server: Server, addresses: tuple[Address, ...], now: float) -> None:
        server.addresses = addresses
        for nbma in addresses:
            if nbma not in server.registrations:
                server.registrations[nbma] = Registration(server, nbma)
        self._leave_former(server, now)
        self._choose(now)

    def _leave_former(self, server: Server, now: float) -> None:
        """Leaves the addresses that a server's name no longer has. One that is up serves until another one has
        answered: DNS may be wrong, or ahead of the server."""
        is_replaced = any(
            each.state is NhsState.UP and each.nbma in server.addresses
            for each in server.registrations.values()
        )
        for registration in list(server.registrations.values()):
            if registration.nbma in server.addresses:
                continue
            if is_replaced or registration.state is not NhsState.UP:
                reason = f"{server.config.nbma} no longer has this address"
                self._exchange.end(registration, NhsState.DOWN, reason, now)
                del server.registrations[registration.nbma]
                best = self.servers.best_nbma()
                self._station.cache.entries.server_lost(registration.nbma, best)

    def _resolve(self, server: Server) -> None:
        if self.active and not server.resolving and not server.literal:
            server.resolving = True
            self._station.outbox.emit(ResolveName(server.config.nbma))

    def _resolve_key(self, server: Server) -> TimerKey:
        subject = (self._station.afi, server.index)
        return TimerKey(TimerKind.NHS_RESOLVE, self._station.interface.name, subject)


def _inherit(gone: Server, servers: list[Server]) -> None:
    """Passes a registration on to a new server that is the same one by another name, or with its overlay address."""
    for heir in servers:
        registration = gone.registrations.get(heir.literal)
        if registration is None or heir.registrations:
            continue
        if registration.protocol and heir.config.protocol not in (None, registration.protocol):
            continue
        heir.index = gone.index  # its timers go on
        heir.registrations[heir.literal] = gone.registrations.pop(heir.literal)
        heir.addresses = (heir.literal,)
        registration.server = heir
        return


def _literal(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError:
        return b""
