"""Circuits: whether packets can go between us and an NBMA address, and the request for the SA that they need.

On an interface without IPsec every circuit is up, and nothing here has an effect. With IPsec, a circuit is up while its
pair of addresses has a CHILD_SA; neighbours, routes and packets exist only then:

    IDLE ──(needed)──► WANTED ──(an attempt failed)──► FAILED, until an SA is installed or the failure is cleared
                         │
    (CHILD_SA installed)─┤ from any state
                         ├─ initiated by us, or beside another ──► UP
                         └─ initiated by the peer ──► ANSWERED ──(the peer can receive by now)──► UP
    (the last CHILD_SA is gone): from ANSWERED and UP to WANTED, or to IDLE where it is not needed
    (no longer needed): WANTED to IDLE. IDLE goes to FAILED when an attempt of the peer failed.

Which CHILD_SAs there are is in `associations`, one table for all interfaces: that is why a circuit's state is derived
from it (`Circuits.state`) and not kept a second time.

The users of a circuit call `need`, as often as they like, and `release`; the first need and the last release become
effects (`WantSa`, `DropSa`). A peer whose attempts fail can be held down: left alone for a while. A packet that arrives
before charon's report of its SA is held for a moment rather than dropped.

Owned by the interface, shared by its address families.
"""

from collections.abc import Hashable

from nhrpd_py.core.address import Address, Prefix
from nhrpd_py.core.base.hold_down import FIRST_HOLD_DOWN_S, hold_down_s
from nhrpd_py.core.base.jitter import Jitter
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.effects import DropSa, EndSa, WantSa
from nhrpd_py.core.events import Association, PacketReceived
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.ipsec.circuit import AttemptFailure, Circuit, CircuitState
from nhrpd_py.core.ipsec.handovers import Contest
from nhrpd_py.core.ipsec.policy import Policy
from nhrpd_py.core.ipsec.source_filter import SourceFilter
from nhrpd_py.core.ipsec.traffic import PairTraffic

HELD_S = 2.0
"""How long a packet waits for charon's report of the SA through which it came."""
PEER_READY_S = 0.5
"""How long a peer that initiated an SA may take until it can receive: half a round trip, and charon's time. A packet
from the peer proves it sooner."""
MAX_HOLDING_PEERS = 256
MAX_HELD_EACH = 4
MAX_FAILURES = 4096
CROSSING_S = 0.5
"""How long to leave an SA to the peer where both ends may be about to make one: else there would be two."""


class Circuits:
    """The circuits of one interface, by NBMA address. `local` is our own NBMA address, empty while we have none."""

    __slots__ = (
        "_associations",
        "_circuits",
        "_failed",
        "_holding",
        "_ipsec",
        "_jitter",
        "_outbox",
        "_timers",
        "local",
        "name",
        "policy",
        "sources",
    )

    def __init__(
        self,
        config: InterfaceConfig,
        associations: Associations,
        outbox: Outbox,
        timers: TimerQueue,
        jitter: Jitter,
    ) -> None:
        self._associations = associations
        self._outbox = outbox
        self._timers = timers
        self._jitter = jitter
        self.name = config.name
        self._ipsec = config.ipsec
        self.policy = Policy(config.authorize)
        self.sources = SourceFilter(config, outbox, timers)
        self.local: Address = b""
        self._circuits: dict[Address, Circuit] = {}
        self._failed: dict[Address, None] = {}
        """NBMA addresses of the circuits with a failure, the oldest first: their number is limited."""
        self._holding = 0
        """Number of circuits that hold packets."""

    @property
    def protected(self) -> bool:
        """Returns whether IPsec protects the traffic of this interface."""
        return self._ipsec is not None

    def configure(self, config: InterfaceConfig) -> None:
        """Applies a changed configuration; requests the SAs anew where the change concerns charon."""
        self.policy = Policy(config.authorize)
        self.sources.configure(config)
        before, self._ipsec = self._ipsec, config.ipsec
        if before == config.ipsec:
            return
        self.clear_failures()
        if not self.local:
            return
        for remote, circuit in self.needed():
            if before is not None and (
                config.ipsec is None or config.ipsec.profile != before.profile
            ):
                self._outbox.emit(DropSa(before.profile, self.local, remote, self.name))
            self._request(remote, circuit)

    # States.

    def state(self, remote: Address) -> CircuitState:
        """Returns the state of the circuit to a peer; see the module's diagram."""
        circuit = self._circuits.get(remote)
        if self.is_up(remote):
            waits = circuit is not None and circuit.waits_for_peer
            return CircuitState.ANSWERED if waits else CircuitState.UP
        if circuit is None:
            return CircuitState.IDLE
        if circuit.failure is not None:
            return CircuitState.FAILED
        return CircuitState.WANTED if circuit.needed_by else CircuitState.IDLE

    def is_up(self, remote: Address) -> bool:
        """Returns whether packets can come from a peer, and NHRP packets can be sent to it."""
        return not self.protected or (self.local, remote) in self._associations

    def carries(self, remote: Address) -> bool:
        """Returns whether the kernel may send data to a peer: the circuit is up and the peer can receive."""
        return self.is_up(remote) and not self.waits_for_peer(remote)

    def waits_for_peer(self, remote: Address) -> bool:
        """Returns whether the peer initiated the SA and may not be able to receive through it yet."""
        circuit = self._circuits.get(remote)
        return circuit is not None and circuit.waits_for_peer

    def wait_for_peer(self, remote: Address, now: float) -> None:
        """Enters ANSWERED: the peer initiated the SA; data waits until it can receive, PEER_READY_S at most."""
        self._circuit(remote).waits_for_peer = True
        self._timers.set(self._key(TimerKind.PEER_READY, remote), now + PEER_READY_S)

    def peer_ready(self, remote: Address) -> None:
        """Ends the wait for a peer: a packet came through the SA, PEER_READY_S are over, or the SA is gone."""
        circuit = self._circuits.get(remote)
        if circuit is not None and circuit.waits_for_peer:
            circuit.waits_for_peer = False
            self._timers.stop(self._key(TimerKind.PEER_READY, remote))
            self._tidy(remote, circuit)

    @property
    def unsure(self) -> bool:
        """Returns whether charon's SAs are still unknown: it has not been reached since we started."""
        return not self._associations.known

    @property
    def charon_problem(self) -> str | None:
        """Why no new SA can be made on this interface now, for people."""
        problem = self._associations.problem
        return f"IPsec: {problem}" if problem and self.protected else None

    def associations(self, remote: Address) -> tuple[Association, ...]:
        """Returns the SAs with a peer, the newest last."""
        return self._associations.of((self.local, remote))

    def up_since(self, remote: Address) -> float | None:
        return self._associations.since((self.local, remote))

    def identity(self, remote: Address) -> str | None:
        """Returns the identity that the peer proved; several where several peers share its address."""
        names = dict.fromkeys(each.identity for each in self.associations(remote))
        return ", ".join(names) or None

    def identities(self, remote: Address) -> frozenset[str]:
        """Returns the identities that are known to be at an NBMA address; none where it has no SA."""
        if not self.protected:
            return frozenset()
        return frozenset(each.identity for each in self.associations(remote))

    def problem(self, remote: Address) -> str | None:
        """Returns why a circuit is not up, for people; None when it is up, or no reason is known yet."""
        circuit = self._circuits.get(remote)
        if circuit is None or circuit.failure is None or self.is_up(remote):
            return None
        return circuit.failure.reason

    def traffic(self, remote: Address) -> PairTraffic | None:
        """Returns what went through the SAs with a peer; None where nothing is known."""
        return self._associations.traffic.of((self.local, remote)) if self.protected else None

    def octets(self) -> tuple[int, int]:
        """Returns the octets that came in and went out through SAs of our address, since the start."""
        return self._associations.traffic.totals(self.local) if self.protected else (0, 0)

    def one_way(self, remote: Address) -> str | None:
        """Returns what the counters tell of a peer from which nothing comes, for people; None: nothing."""
        return self._associations.traffic.one_way((self.local, remote)) if self.protected else None

    def contests(self, now: float) -> dict[Address, Contest]:
        """Returns the peers' addresses that have an identity in turn with another one."""
        return self._associations.handovers.contests(self.local, now) if self.protected else {}

    def address_denial(self, remote: Address, protocol: Address) -> str | None:
        """Returns why the peer at `remote` may not have a tunnel address; None when it may."""
        return self.policy.address_denial(self.associations(remote), protocol)

    def prefix_denial(self, remote: Address, prefix: Prefix) -> str | None:
        """Returns why a network may not lie behind the peer at `remote`; None when it may."""
        return self.policy.prefix_denial(self.associations(remote), prefix)

    # Needs.

    def need(
        self, remote: Address, who: Hashable, *, server: bool = False, delay_s: float = 0.0
    ) -> None:
        """Adds a user; requests the SA for the first one, and again when the peer becomes a server by it."""
        if not self.protected:
            return
        circuit = self._circuit(remote)
        before = circuit.to_server if circuit.needed_by else None
        circuit.needed_by[who] = server
        if circuit.to_server != before:
            self.sources.serves(remote, is_server=circuit.to_server)
            self._request(remote, circuit, delay_s)

    def is_needed(self, remote: Address) -> bool:
        """Returns whether a circuit has users: its SA is there, or wanted."""
        circuit = self._circuits.get(remote)
        return circuit is not None and bool(circuit.needed_by)

    def crossing_delay_s(self, remote: Address) -> float:
        """Returns how long to wait with an SA that the peer may be making too: the end with the higher address does."""
        return CROSSING_S if self.local > remote else 0.0

    def release(self, remote: Address, who: Hashable) -> None:
        """Removes a user of the circuit, if it is one; with the last user the request for the SA is withdrawn."""
        circuit = self._circuits.get(remote)
        if circuit is None or who not in circuit.needed_by:
            return
        before = circuit.to_server
        del circuit.needed_by[who]
        self.sources.serves(remote, is_server=circuit.to_server)
        if not circuit.needed_by:
            self._withdraw(remote)
            self._tidy(remote, circuit)
        elif circuit.to_server != before:
            self._request(remote, circuit)

    def release_all(self) -> None:
        """Removes all users of all circuits: the netdev is down or gone."""
        for remote, circuit in self.needed():
            self._withdraw(remote)
            circuit.needed_by.clear()
            self.sources.serves(remote, is_server=False)
            self._tidy(remote, circuit)

    def renew(self, remote: Address) -> None:
        """Ends the SAs of a circuit through which nothing comes, to get new ones: the peer may have lost its SAs."""
        if self.protected and self.is_up(remote):
            self._outbox.emit(EndSa(self.local, remote))

    def moved(self, local: Address) -> None:
        """Takes our new NBMA address, and requests all needed SAs from there."""
        if self.local:
            for remote, _ in self.needed():
                self._withdraw(remote)
        self.local = local
        self.clear_failures()
        if local:
            for remote, circuit in self.needed():
                self._request(remote, circuit)

    def needed(self) -> list[tuple[Address, Circuit]]:
        """Returns the circuits that are needed, with their NBMA addresses."""
        return [(remote, each) for remote, each in self._circuits.items() if each.needed_by]

    def _request(self, remote: Address, circuit: Circuit, delay_s: float = 0.0) -> None:
        ipsec = self._ipsec
        if ipsec is None or not self.local:
            return  # `moved` asks as soon as we have an address
        self._outbox.emit(
            WantSa(
                ipsec=ipsec,
                local=self.local,
                remote=remote,
                server=circuit.to_server,
                interface=self.name,
                delay_s=delay_s,
            )
        )

    def _withdraw(self, remote: Address) -> None:
        ipsec = self._ipsec
        if ipsec is not None and self.local:
            self._outbox.emit(DropSa(ipsec.profile, self.local, remote, self.name))

    # Failures.

    def failed(self, remote: Address, reason: str) -> None:
        """Notes that an attempt failed; more follow while the circuit is needed."""
        circuit = self._circuit(remote)
        if circuit.failure is not None:
            circuit.failure.reason, circuit.failure.at = reason, self._outbox.now
            return
        if len(self._failed) >= MAX_FAILURES:
            self.clear_failure(next(iter(self._failed)))
        circuit.failure = AttemptFailure(reason, at=self._outbox.now)
        self._failed[remote] = None

    def hold_down(self, remote: Address, now: float) -> float:
        """Holds a peer down whose circuit cannot be made; returns for how many seconds."""
        circuit = self._circuits.get(remote)
        failure = circuit.failure if circuit is not None else None
        if failure is None:
            return FIRST_HOLD_DOWN_S
        if failure.held_down_until > now:
            return failure.held_down_until - now  # the other address family did it just now
        seconds = self._jitter(hold_down_s(failure.count))
        failure.count += 1
        failure.held_down_until = now + seconds
        return seconds

    def deserted(self, now: float) -> str | None:
        """Returns why the SAs of this interface that lead to other spokes cannot be relied upon any more, else None."""
        return self._associations.deserted(now) if self.protected else None

    def held_down(self, remote: Address, now: float) -> tuple[str, float] | None:
        """Returns the reason and the seconds left while a peer is held down, else None."""
        circuit = self._circuits.get(remote)
        failure = circuit.failure if circuit is not None else None
        if failure is None or failure.held_down_until <= now or self.is_up(remote):
            return None
        return failure.reason, failure.held_down_until - now

    def failures(self, now: float) -> list[tuple[Address, str]]:
        """Returns the NBMA addresses with which no SA can be made at present, and why."""
        failing = [each for each in self._failed if self._circuits[each].is_failing(now)]
        found = [(remote, self.problem(remote)) for remote in failing]
        return [(remote, reason) for remote, reason in found if reason]

    def clear_failure(self, remote: Address) -> None:
        """Forgets a failure: the circuit is up, or an operator asked to try again."""
        circuit = self._circuits.get(remote)
        if circuit is not None and circuit.failure is not None:
            circuit.failure = None
            del self._failed[remote]
            self._tidy(remote, circuit)

    def clear_failures(self) -> None:
        for remote in list(self._failed):
            self.clear_failure(remote)

    # Packets that arrive before charon's report.

    def hold(self, packet: PacketReceived, now: float) -> bool:
        """Keeps a packet until its SA is reported; False when there is no room."""
        remote = packet.nbma_source
        held = self._circuits[remote].held_packets if remote in self._circuits else []
        if len(held) >= MAX_HELD_EACH:
            return False
        if not held:
            if self._holding >= MAX_HOLDING_PEERS:
                return False
            self._holding += 1
            self._timers.set(self._key(TimerKind.HELD_PACKETS, remote), now + HELD_S)
            held = self._circuit(remote).held_packets
        held.append(packet)
        return True

    def release_held(self, remote: Address) -> list[PacketReceived]:
        """Removes and returns the packets held for a peer: its SA is reported, or their time is over."""
        circuit = self._circuits.get(remote)
        if circuit is None or not circuit.held_packets:
            return []
        self._timers.stop(self._key(TimerKind.HELD_PACKETS, remote))
        self._holding -= 1
        packets, circuit.held_packets = circuit.held_packets, []
        self._tidy(remote, circuit)
        return packets

    def _circuit(self, remote: Address) -> Circuit:
        circuit = self._circuits.get(remote)
        if circuit is None:
            circuit = self._circuits[remote] = Circuit()
        return circuit

    def _tidy(self, remote: Address, circuit: Circuit) -> None:
        """Forgets a circuit without users, failure, held packets or wait for its peer."""
        if circuit.is_empty:
            del self._circuits[remote]

    def _key(self, kind: TimerKind, remote: Address) -> TimerKey:
        return TimerKey(kind, self.name, remote)
