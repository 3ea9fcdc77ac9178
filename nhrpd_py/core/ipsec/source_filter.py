"""The source filter of one interface: which inner sources may come out of which security association.

charon gives the packets of each SA a mark, so that a packet filter knows the peer of every packet. What a peer may send
from is known here as a table of prefixes for each mark, and is told as changes of it (`AllowSources`):

- its tunnel addresses, which are those that bindings have at its NBMA address;
- what lies behind these: prefixes that were resolved to them, and routes into the tunnel that lead over them;
- what rules or its certificate say that it may claim;
- everything, for a next hop server of ours;
- for as long as we ask for an address, that address, whoever has it: our answer may be on its way to a peer already,
  whose traffic is here before the reply. It is told under the mark ANY_PEER. A wrong source
  that makes us ask stays one until the answer.

What a peer may no longer send from is kept for LINGER_S, since the peer may not know yet that its way is another one
now, unless another peer has got the tunnel address.
"""

from collections.abc import Iterable
from typing import TypeVar

from nhrpd_py.core.address import Address, Prefix, host_prefix
from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.base.timers import TimerKey, TimerKind, TimerQueue
from nhrpd_py.core.config import InterfaceConfig
from nhrpd_py.core.effects import AllowSources, FilterSources, ForgetMark, UnfilterSources
from nhrpd_py.core.events import Association
from nhrpd_py.core.ipsec.cover import Covers
from nhrpd_py.core.ipsec.policy import EVERYTHING

ANY_PEER = 0
"""The mark of packets without one stands for sources that every peer may use."""
LINGER_S = 60.0
MENDING = (
    "mend it: mark_in = %unique and set_mark_in = %same in the child of the connection in swanctl.conf, "
    "swanctl --load-conns, then end these SAs"
)

K = TypeVar("K")
V = TypeVar("V")

_Key = tuple[Address, int]
"""An SA: its peer's NBMA address, and charon's number. A peer that moves keeps the number."""
_Leaving = tuple[Address, Prefix | None]
"""A tunnel address and a prefix behind it; None: the tunnel address itself."""


class SourceFilter:
    """What the peers of one interface may send from. Owned by its circuits; does nothing while it is not `active`."""

    __slots__ = (
        "_at",
        "_awaited",
        "_behind",
        "_grants",
        "_leaving",
        "_marks",
        "_name",
        "_of_nbma",
        "_outbox",
        "_remotes",
        "_servers",
        "_tables",
        "_timers",
        "_underlay",
        "active",
        "defect",
        "doubted",
        "drops",
        "is_open",
        "unmarked",
        "wrong",
    )

    def __init__(self, config: InterfaceConfig, outbox: Outbox, timers: TimerQueue) -> None:
        self._name = config.name
        self._outbox = outbox
        self._timers = timers
        self.active = is_wanted(config)
        self.drops = config.source_filter is True
        self.is_open = False
        """The packet filter was asked for."""
        self._underlay = ""
        self.defect: str | None = None
        """Why the packet filter is not in force, for people."""
        self.doubted: Address | None = None
        """A wrong source that is being asked for: the question alone makes it no right one."""
        self.wrong: dict[Address, int] = {}
        """Packets with wrong sources so far, by the NBMA address of their peer."""
        self._forget()

    def _forget(self) -> None:
        self._at: dict[Address, Address] = {}
        """Tunnel address → NBMA address, of each binding."""
        self._of_nbma: dict[Address, dict[Address, None]] = {}
        self._behind: dict[Address, dict[Prefix, int]] = {}
        """Tunnel address → prefixes that lead over it, with how many shortcuts and routes do."""
        self._leaving: dict[_Leaving, float] = {}
        """What is kept until an instant, the earliest first."""
        self._servers: set[Address] = set()
        self._awaited: set[Address] = set()
        self._tables: dict[int, Covers] = {ANY_PEER: Covers()}
        self._marks: dict[Address, dict[int, int]] = {}
        """NBMA address → marks of its SAs, with how many SAs have each."""
        self._remotes: dict[int, dict[Address, int]] = {}
        """The same by mark: after charon was restarted it may be that of an SA of another peer, too."""
        self._grants: dict[_Key, tuple[int, tuple[Prefix, ...]]] = {}
        """SA → its mark, and what rules or the certificate allow its peer."""
        self.unmarked: dict[_Key, None] = {}
        """The SAs without a mark."""

    # The packet filter.

    @property
    def problem(self) -> str | None:
        """Returns why wrong sources are not dropped although they should be, for people."""
        if not (self.active and self.drops and self.is_open):
            return None
        if self.defect is not None:
            return f"source-filter: {self.defect}"
        if self.unmarked:
            return (
                f"source-filter: {len(self.unmarked)} SAs have no mark, and any source may come out of them; "
                f"{MENDING}"
            )
        shared = sum(len(each) > 1 for each in self._remotes.values())
        if shared:
            return (
                f"source-filter: {shared} marks are those of SAs with several peers, each of whom may send as the "
                f"others; after a restart of charon that ends by itself, else {MENDING}"
            )
        return None

    def opened(self, underlay: str) -> None:
        """Asks for the packet filter: the tunnel is open."""
        if self.active and not self.is_open:
            self.is_open = True
            self._underlay = underlay
            self._outbox.emit(FilterSources(self._name, self.drops, underlay))

    def closed(self) -> None:
        """Has the packet filter removed: the daemon stops, or the tunnel is no longer ours."""
        if self.is_open:
            self.is_open = False
            self.defect = None
            self._outbox.emit(UnfilterSources(self._name))

    def configure(self, config: InterfaceConfig) -> None:
        """Applies a changed setting; one that was switched on must be told all that it follows."""
        was_active, self.active = self.active, is_wanted(config)
        drops, self.drops = self.drops, config.source_filter is True
        if was_active and not self.active:
            self.is_open = True
            self.closed()
            self._forget()
            self._timers.stop(self._key())
        elif self.is_open and drops != self.drops:
            self._outbox.emit(FilterSources(self._name, self.drops, self._underlay))

    # Bindings, and what leads over them.

    def bound(self, protocol: Address, nbma: Address) -> None:
        """Notes that a tunnel address is at an NBMA address."""
        if not self.active:
            return
        self._leaving.pop((protocol, None), None)
        if self._at.get(protocol) == nbma:
            return
        self._leave(protocol)
        self._at[protocol] = nbma
        self._of_nbma.setdefault(nbma, {})[protocol] = None
        self._change_peer(nbma, added=self._over(protocol))

    def unbound(self, protocol: Address) -> None:
        """Notes that a tunnel address has no binding any more."""
        if protocol in self._at:
            self._linger((protocol, None))

    def leads(self, prefix: Prefix, protocol: Address) -> None:
        """Notes that a shortcut or a route to a prefix leads over a tunnel address."""
        if not self.active:
            return
        behind = self._behind.setdefault(protocol, {})
        behind[prefix] = behind.get(prefix, 0) + 1
        if self._leaving.pop((protocol, prefix), None) is None and behind[prefix] == 1:
            self._change_peer(self._at.get(protocol, b""), added=(prefix,))

    def leads_no_more(self, prefix: Prefix, protocol: Address) -> None:
        """Takes one `leads` back."""
        behind = self._behind.get(protocol, {})
        if behind.get(prefix):
            behind[prefix] -= 1
            if not behind[prefix]:
                self._linger((protocol, prefix))

    def awaits(self, target: Address) -> None:
        """Notes that we ask for an address."""
        if self.active and target not in self._awaited and target != self.doubted:
            self._awaited.add(target)
            self._change(ANY_PEER, added=(host_prefix(target),))

    def awaits_no_more(self, target: Address) -> None:
        """Notes that there is an answer, or will be none."""
        if target in self._awaited:
            self._awaited.discard(target)
            self._change(ANY_PEER, removed=(host_prefix(target),))

    def timer_due(self, now: float) -> None:
        """Forgets what was kept for long enough."""
        for leaving, until in list(self._leaving.items()):
            if until > now:
                self._timers.set(self._key(), until)
                return
            del self._leaving[leaving]
            protocol, prefix = leaving
            if prefix is None:
                self._leave(protocol)
                continue
            behind = self._behind[protocol]
            del behind[prefix]
            if not behind:
                del self._behind[protocol]
            self._change_peer(self._at.get(protocol, b""), removed=(prefix,))

    def _linger(self, leaving: _Leaving) -> None:
        if not self._leaving:
            self._timers.set(self._key(), self._outbox.now + LINGER_S)
        self._leaving[leaving] = self._outbox.now + LINGER_S

    def _leave(self, protocol: Address) -> None:
        """Takes a tunnel address away from the peer that has it."""
        nbma = self._at.pop(protocol, None)
        if nbma is None:
            return
        del self._of_nbma[nbma][protocol]
        if not self._of_nbma[nbma]:
            del self._of_nbma[nbma]
        self._change_peer(nbma, removed=self._over(protocol))

    def _over(self, protocol: Address) -> list[Prefix]:
        return [host_prefix(protocol), *self._behind.get(protocol, ())]

    # Peers and their SAs.

    def serves(self, remote: Address, *, is_server: bool) -> None:
        """Notes whether a peer is a next hop server of ours, from which everything may come."""
        if not self.active or is_server == (remote in self._servers):
            return
        if is_server:
            self._servers.add(remote)
            self._change_peer(remote, added=EVERYTHING)
        else:
            self._servers.discard(remote)
            self._change_peer(remote, removed=EVERYTHING)

    def installed(self, association: Association, granted: tuple[Prefix, ...]) -> None:
        """Adds an SA, or replaces one of the same id. `granted`: what rules or a certificate allow its peer."""
        if not self.active:
            return
        mark, remote = association.mark, association.remote
        key = (remote, association.id)
        before = self._grants.get(key)
        if not mark:
            self.gone(*key)
            self.unmarked[key] = None
            return
        if before == (mark, granted):
            return
        self.unmarked.pop(key, None)
        self._grants[key] = (mark, granted)
        marks = self._marks.setdefault(remote, {})
        added = list(granted) if mark in marks else [*granted, *self._of_peer(remote)]
        marks[mark] = marks.get(mark, 0) + 1
        remotes = self._remotes.setdefault(mark, {})
        remotes[remote] = remotes.get(remote, 0) + 1
        is_new = mark not in self._tables
        if is_new:
            self._tables[mark] = Covers()
        self._change(mark, added=added, is_new=is_new)
        if before is not None:
            self._release(remote, *before)

    def gone(self, remote: Address, identifier: int) -> None:
        """Removes an SA."""
        self.unmarked.pop((remote, identifier), None)
        before = self._grants.pop((remote, identifier), None)
        if before is not None:
            self._release(remote, *before)

    def forget_associations(self) -> None:
        """Removes all SAs: we have another NBMA address."""
        for key in [*self._grants, *self.unmarked]:
            self.gone(*key)

    def peers(self, mark: int) -> tuple[Address, ...]:
        """Returns the NBMA addresses of the peers whose SAs have a mark."""
        return tuple(self._remotes.get(mark, ()))

    def is_server(self, remote: Address) -> bool:
        return remote in self._servers

    def _release(self, remote: Address, mark: int, granted: tuple[Prefix, ...]) -> None:
        """Removes what an SA allowed; with the last one of its mark the mark."""
        removed = list(granted)
        _count_down(self._marks, remote, mark)
        _count_down(self._remotes, mark, remote)
        if mark not in self._remotes:
            del self._tables[mark]
            self._outbox.emit(ForgetMark(self._name, mark))
            return
        if mark not in self._marks.get(remote, ()):
            removed += self._of_peer(remote)
        self._change(mark, removed=removed)

    def _of_peer(self, remote: Address) -> list[Prefix]:
        """Returns what a peer may send from, whatever its SA."""
        found = list(EVERYTHING) if remote in self._servers else []
        for protocol in self._of_nbma.get(remote, ()):
            found += self._over(protocol)
        return found

    def _change_peer(
        self, remote: Address, added: Iterable[Prefix] = (), removed: Iterable[Prefix] = ()
    ) -> None:
        for mark in self._marks.get(remote, ()):
            self._change(mark, added, removed)

    def _change(
        self,
        mark: int,
        added: Iterable[Prefix] = (),
        removed: Iterable[Prefix] = (),
        *,
        is_new: bool = False,
    ) -> None:
        came, left = self._tables[mark].change(added, removed)
        if came or left or is_new:
            self._outbox.emit(AllowSources(self._name, mark, tuple(came), tuple(left)))

    def _key(self) -> TimerKey:
        return TimerKey(TimerKind.SOURCES, self._name, None)


def _count_down(counts: dict[K, dict[V, int]], key: K, other: V) -> None:
    of_key = counts[key]
    of_key[other] -= 1
    if not of_key[other]:
        del of_key[other]
    if not of_key:
        del counts[key]


def is_wanted(config: InterfaceConfig) -> bool:
    """Returns whether anybody looks at the sources of an interface: it is protected, and that is not switched off."""
    return config.ipsec is not None and config.source_filter is not False
