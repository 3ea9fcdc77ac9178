"""Circuits: whether packets can go between us and an NBMA address, and what is done so that they can.

On an interface without IPsec every circuit is up, and nothing here does anything. With it, a circuit is up while its
pair of addresses has a CHILD_SA; neighbours, routes and packets exist only then. Whoever needs one `want`s it, as often
as wanted, and `release`s it; the first wish and the last release become effects. A packet that comes in ahead of
charon's word about its SA is parked for a moment rather than lost.

Owned by the interface, shared by its address families.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from nhrpd_py.core.address import Address, Prefix
from nhrpd_py.core.base.jitter import Jitter
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.effects import DropSa, EndSa, WantSa
from nhrpd_py.core.events import Association, PacketReceived
from nhrpd_py.core.ipsec.associations import Associations
from nhrpd_py.core.ipsec.policy import Policy

PARKED_S = 2.0
"""How long a packet waits for charon's word about the SA that it came through."""
SETTLING_S = 0.5
"""How long a peer that began an SA may take until it can receive: half a round trip, and charon's time. A packet
from it tells that sooner."""
MAX_PARKED_PEERS = 256
MAX_PARKED_EACH = 4
FIRST_REST_S = 30.0
"""How long a peer that IKE cannot reach is left alone; doubles with each failure in a row."""
MAX_REST_S = 900.0
MAX_FAILURES = 4096


@dataclass(slots=True, eq=False)
class Failure:
    """What kept the last attempt for an SA from success."""

    reason: str
    count: int = 0
    """Failures in a row after which the peer was given up for a while."""
    rests_until: float = 0.0


@dataclass(slots=True, eq=False)
class Wish:
    who: dict[Hashable, bool] = field(default_factory=dict)
    """Whoever needs the circuit, and whether as one to a server."""

    @property
    def server(self) -> bool:
        return any(self.who.values())


class Circuits:
    """See the module. `local` is our own NBMA address, empty while we have none."""

    __slots__ = (
        "_associations",
        "_failures",
        "_ipsec",
        "_jitter",
        "_outbox",
        "_parked",
        "_settling",
        "_timers",
        "_wishes",
        "local",
        "name",
        "policy",
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
        self.local: Address = b""
        self._wishes: dict[Address, Wish] = {}
        self._failures: dict[Address, Failure] = {}
        self._parked: dict[Address, list[PacketReceived]] = {}
        self._settling: set[Address] = set()

    @property
    def protected(self) -> bool:
        """Tells whether IPsec has to carry what goes here."""
        return self._ipsec is not None

    def configure(self, config: InterfaceConfig) -> None:
        """The configuration is another one; wishes are said anew where that makes a difference to charon."""
        self.policy = Policy(config.authorize)
        before, self._ipsec = self._ipsec, config.ipsec
        if before == config.ipsec:
            return
        self._failures.clear()
        if not self.local:
            return
        for remote, wish in self._wishes.items():
            if before is not None and (
                config.ipsec is None or config.ipsec.profile != before.profile
            ):
                self._outbox.emit(DropSa(before.profile, self.local, remote, self.name))
            self._ask(remote, wish, 0.0)

    # What is.

    def is_up(self, remote: Address) -> bool:
        """Tells whether packets can go to a peer and come from it."""
        return not self.protected or (self.local, remote) in self._associations

    def carries(self, remote: Address) -> bool:
        """Tells whether the kernel may send to a peer, who can receive it by now."""
        return self.is_up(remote) and remote not in self._settling

    def settle(self, remote: Address, now: float) -> None:
        """The peer has an SA with us that it began: data waits until it must have learnt that too."""
        self._settling.add(remote)
        self._timers.set(self._settling_key(remote), now + SETTLING_S)

    def is_settling(self, remote: Address) -> bool:
        return remote in self._settling

    def settled(self, remote: Address) -> None:
        """A packet came through the SA, its time is over, or it is gone."""
        self._settling.discard(remote)
        self._timers.stop(self._settling_key(remote))

    @property
    def unsure(self) -> bool:
        """Tells whether charon has not said yet what there is: it may be away since before we started."""
        return not self._associations.known

    @property
    def charon_problem(self) -> str | None:
        """Why no new SA can be had here just now, for people."""
        problem = self._associations.problem
        return f"IPsec: {problem}" if problem and self.protected else None

    def associations(self, remote: Address) -> tuple[Association, ...]:
        """The SAs with a peer, the newest last."""
        return self._associations.of((self.local, remote))

    def up_since(self, remote: Address) -> float | None:
        return self._associations.since((self.local, remote))

    def identity(self, remote: Address) -> str | None:
        """Who the peer has proved to be; several names where several peers share its address."""
        names = dict.fromkeys(each.identity for each in self.associations(remote))
        return ", ".join(names) or None

    def problem(self, remote: Address) -> str | None:
        """Why a circuit is not up, for people; None when it is up, or nothing is known yet."""
        if self.is_up(remote):
            return None
        failure = self._failures.get(remote)
        return failure.reason if failure is not None else None

    def state(self, remote: Address) -> str:
        """none | wanted | up | failed, as `show peers` has it."""
        if not self.protected:
            return "none"
        if self.is_up(remote):
            return "up"
        return "failed" if remote in self._failures else "wanted"

    def address_denial(self, remote: Address, protocol: Address) -> str | None:
        """Why the peer at `remote` may not have a tunnel address."""
        return self.policy.address_denial(self.associations(remote), protocol)

    def prefix_denial(self, remote: Address, prefix: Prefix) -> str | None:
        """Why a network may not lie behind the peer at `remote`."""
        return self.policy.prefix_denial(self.associations(remote), prefix)

    # What is wanted.

    def wanted(self) -> Iterator[Address]:
        """The peers that somebody here needs an SA with."""
        return iter(self._wishes)

    def want(
        self, remote: Address, who: Hashable, *, server: bool = False, delay_s: float = 0.0
    ) -> None:
        """Somebody needs the circuit."""
        if not self.protected:
            return
        wish = self._wishes.get(remote)
        if wish is None:
            wish = self._wishes[remote] = Wish()
        before = wish.server if wish.who else None
        wish.who[who] = server
        if wish.server != before:
            self._ask(remote, wish, delay_s)

    def release(self, remote: Address, who: Hashable) -> None:
        """Somebody needs the circuit no more; harmless where it was not wanted."""
        wish = self._wishes.get(remote)
        if wish is None or who not in wish.who:
            return
        before = wish.server
        del wish.who[who]
        if not wish.who:
            del self._wishes[remote]
            self._drop(remote)
        elif wish.server != before:
            self._ask(remote, wish, 0.0)

    def renew(self, remote: Address) -> None:
        """Nothing comes through the circuit any more: the peer may have lost its end. Has it made anew."""
        if self.protected and self.is_up(remote):
            self._outbox.emit(EndSa(self.local, remote))

    def release_all(self) -> None:
        """The netdev is down or gone."""
        for remote in list(self._wishes):
            self._drop(remote)
        self._wishes.clear()

    def moved(self, local: Address) -> None:
        """Our own NBMA address is another one: the wishes go with us."""
        if self.local:
            for remote in self._wishes:
                self._drop(remote)
        self.local = local
        self._failures.clear()
        if local:
            for remote, wish in self._wishes.items():
                self._ask(remote, wish, 0.0)

    def _ask(self, remote: Address, wish: Wish, delay_s: float) -> None:
        ipsec = self._ipsec
        if ipsec is None or not self.local:
            return  # `moved` asks as soon as we have an address
        self._outbox.emit(
            WantSa(
                ipsec=ipsec,
                local=self.local,
                remote=remote,
                server=wish.server,
                interface=self.name,
                delay_s=delay_s,
            )
        )

    def _drop(self, remote: Address) -> None:
        ipsec = self._ipsec
        if ipsec is not None and self.local:
            self._outbox.emit(DropSa(ipsec.profile, self.local, remote, self.name))

    # What did not work.

    def failed(self, remote: Address, reason: str) -> None:
        """An attempt failed; more follow while the circuit is wanted."""
        failure = self._failures.get(remote)
        if failure is not None:
            failure.reason = reason
            return
        if len(self._failures) >= MAX_FAILURES:
            del self._failures[next(iter(self._failures))]
        self._failures[remote] = Failure(reason)

    def give_up(self, remote: Address, now: float) -> float:
        """Leaves a peer alone whose circuit cannot be had; returns for how many seconds."""
        failure = self._failures.get(remote)
        if failure is None:
            return FIRST_REST_S
        if failure.rests_until > now:
            return failure.rests_until - now  # the other address family gave it up just now
        rest_s = self._jitter(min(FIRST_REST_S * 2**failure.count, MAX_REST_S))
        failure.count = min(failure.count + 1, 16)
        failure.rests_until = now + rest_s
        return rest_s

    def resting(self, remote: Address, now: float) -> tuple[str, float] | None:
        """The reason and the seconds left while a peer is left alone, else None."""
        failure = self._failures.get(remote)
        if failure is None or failure.rests_until <= now or self.is_up(remote):
            return None
        return failure.reason, failure.rests_until - now

    def forgive(self, remote: Address) -> None:
        """The circuit is up, or an operator wants a fresh start."""
        self._failures.pop(remote, None)

    def forgive_all(self) -> None:
        self._failures.clear()

    # Packets that are ahead of charon's word.

    def park(self, packet: PacketReceived, now: float) -> bool:
        """Keeps a packet until its SA is reported; False when there is no room."""
        remote = packet.nbma_source
        parked = self._parked.get(remote)
        if parked is None:
            if len(self._parked) >= MAX_PARKED_PEERS:
                return False
            parked = self._parked[remote] = []
            self._timers.set(self._parked_key(remote), now + PARKED_S)
        if len(parked) >= MAX_PARKED_EACH:
            return False
        parked.append(packet)
        return True

    def unpark(self, remote: Address) -> list[PacketReceived]:
        """Hands out what waited for a peer: its SA is there, or its time is over."""
        self._timers.stop(self._parked_key(remote))
        return self._parked.pop(remote, [])

    def _settling_key(self, remote: Address) -> TimerKey:
        return TimerKey(TimerKind.SETTLING, self.name, remote)

    def _parked_key(self, remote: Address) -> TimerKey:
        return TimerKey(TimerKind.PARKED, self.name, remote)
