"""The CHILD_SAs of the daemon's profiles, from charon's events and lists. No IO.

Connections' names are ignored: the end that did not initiate has the SA under the name of another
connection. The child's name and the pair of addresses of its IKE_SA identify an SA.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from nhrpd_py.core.address import Prefix, format_address, parse_address
from nhrpd_py.core.events import Event, SaGone, SaInstalled
from nhrpd_py.runtime.vici.sas.children import Child, Children, Pair
from nhrpd_py.runtime.vici.sas.messages import (
    LIVE_STATES,
    TRANSPORT_MODES,
    child_end,
    children_of,
    ike_end,
    is_ours,
    mark_of,
)
from nhrpd_py.runtime.vici.wire.connection import Section, number, sections, text

ROW_LIMIT = 65536
TUNNEL_MODE = "is in tunnel mode: the peer's child needs mode = transport"

Denial: TypeAlias = Callable[[Child, Sequence[Child]], str | None]
"""Returns why an SA must be ended, or None. The second argument has the SAs that were at its
address before; empty for an SA that was known already."""
BlocksOf: TypeAlias = Callable[[str, bytes], tuple[Prefix, ...] | None]
"""Returns a peer's address blocks, by its identity and the certificate in the event (or b"")."""


class AssociationTable:
    """Tracks the installed CHILD_SAs, and returns the engine's events for each change.

    When charon is lost, its SAs are orphans until a new list has them or they end (`bury`).
    """

    def __init__(
        self,
        blocks_of: BlocksOf = lambda _identity, _certificate: None,
        denial: Denial = lambda _child, _others: None,
        names: Collection[str] = (),
    ) -> None:
        """`denial` checks each SA that charon accepted; `names` are the names of our children."""
        self._names = frozenset(names)
        self._denial = denial
        self._denied: list[tuple[Child, str]] = []
        self._blocks_of = blocks_of
        self._children = Children()
        """By charon's uniqueid."""
        self._orphans = Children()
        """By our id: SAs that charon no longer has, but whose kernel states may still carry
        traffic."""
        self._ending: dict[int, str] = {}
        """uniqueid of an IKE_SA → why we end it: charon's events do not say who ended it."""
        self.ignored = 0
        """Events that could not be understood, and children beyond the limit."""

    @property
    def names(self) -> frozenset[str]:
        """The names of our children: CHILD_SAs with other names are ignored."""
        return self._names

    def add_names(self, names: Collection[str]) -> bool:
        """Adds names of children; returns whether one of them is new."""
        known, self._names = self._names, self._names | frozenset(names)
        return self._names != known

    # The present SAs.

    def children(self, pair: Pair | None = None) -> list[Child]:
        return list(self._children) if pair is None else self._children.of(pair)

    def is_up(self, pair: Pair) -> bool:
        """Returns whether charon has a CHILD_SA between two addresses."""
        return self._children.has(pair)

    def orphans(self) -> list[Child]:
        return list(self._orphans)

    # Events.

    def happened(self, event: str, message: Section) -> list[Event]:
        """Applies one of charon's events; returns the engine's events for it."""
        try:
            match event:
                case "child-updown":
                    return list(self._child_updown(message))
                case "child-rekey":
                    return list(self._child_rekey(message))
                case "ike-updown":
                    return list(self._ike_updown(message))
                case "ike-rekey":
                    self._ike_rekey(message)
                case "ike-update":
                    return list(self._ike_update(message))
                case _:
                    pass
        except ValueError:  # a malformed address
            self.ignored += 1
        return []

    def _child_updown(self, message: Section) -> Iterator[Event]:
        for _, ike in sections(message):
            for _, child in children_of(ike):
                if text(message.get("up")) == "yes":
                    answered = text(ike.get("initiator")) != "yes"
                    yield from self._add(ike, child, answered=answered)
                else:
                    yield from self._remove(number(child.get("uniqueid")), child_end(ike, child))

    def _child_rekey(self, message: Section) -> Iterator[Event]:
        for _, ike in sections(message):
            for _, both in children_of(ike):
                old, new = both.get("old"), both.get("new")
                before = number(old.get("uniqueid")) if isinstance(old, Mapping) else 0
                if isinstance(new, Mapping):
                    # A rekeyed successor needs no new check: its predecessor had one.
                    yield from self._add(ike, new, judge=before not in self._children)
                yield from self._remove(before, "rekeyed")

    def _ike_updown(self, message: Section) -> Iterator[Event]:
        if text(message.get("up")) == "yes":
            return
        for _, ike in sections(message):
            ike_id = number(ike.get("uniqueid"))
            for each in [each for each in self._children if each.ike_id == ike_id]:
                yield from self._remove(each.unique_id, ike_end(ike))
            self._ending.pop(ike_id, None)

    def _ike_rekey(self, message: Section) -> None:
        for _, both in sections(message):
            old, new = (dict(both).get(key) for key in ("old", "new"))
            if isinstance(old, Mapping) and isinstance(new, Mapping):
                before, after = number(old.get("uniqueid")), number(new.get("uniqueid"))
                for each in self._children:
                    if each.ike_id == before:
                        self._children.put(each.unique_id, replace(each, ike_id=after))

    def _ike_update(self, message: Section) -> Iterator[Event]:
        for _, ike in sections(message):
            ike_id = number(ike.get("uniqueid"))
            for each in self._children:
                if each.ike_id != ike_id:
                    continue
                moved = replace(
                    each,
                    local=parse_address(text(message.get("local-host"))),
                    remote=parse_address(text(message.get("remote-host"))),
                )
                if moved.pair == each.pair:
                    continue
                if (denial := self._denial(moved, self.children(moved.pair))) is not None:
                    self._deny(moved, denial)
                    yield from self._remove(each.unique_id, denial)
                    continue
                self._children.put(each.unique_id, moved)
                yield SaInstalled(moved.association)
                yield SaGone(each.local, each.remote, each.id, f"now at {_at(moved)}")

    def _add(
        self, ike: Section, child: Section, *, answered: bool = False, judge: bool = True
    ) -> Iterator[Event]:
        row = self._read(ike, child)
        if row is None:
            return
        if text(child.get("mode")).upper() not in TRANSPORT_MODES:
            self._deny(row, f"the SA of {row.identity} {TUNNEL_MODE}")
            return
        known = self._children.get(row.unique_id)
        is_same = known is not None and _same(known, row)
        others = [] if is_same else self.children(row.pair)
        if judge and (denial := self._denial(row, others)) is not None:
            self._deny(row, denial)
            return
        if known is not None and is_same:
            yield from self._refresh(known, row)
            return
        if known is None and len(self._children) >= ROW_LIMIT:
            self.ignored += 1
            return
        if known is not None:
            # An SA of an earlier charon: its number must stay free as long as the engine has it.
            self._orphans.put(known.id, known)
        for each in self._orphans.of(row.pair):
            if each.unique_id == row.unique_id and _same(each, row):
                self._orphans.pop(each.id)
                yield from self._refresh(each, row)
                return
        row = replace(row, id=self._free_id(row.unique_id))
        self._children.put(row.unique_id, row)
        yield SaInstalled(replace(row.association, answered=answered))
        for each in self._orphans.of(row.pair):
            yield self._forget(each, "replaced after charon was restarted")

    def _deny(self, child: Child, reason: str) -> None:
        self._denied.append((child, reason))
        self.expect_end(child.ike_id, reason)

    def denied(self) -> list[tuple[Child, str]]:
        """Returns, once each, the SAs that were denied and why; the caller ends their IKE_SAs."""
        denied, self._denied = self._denied, []
        return denied

    def expect_end(self, ike_id: int, reason: str) -> None:
        """Notes that we end an IKE_SA: this is then the reason why its children are gone."""
        self._ending[ike_id] = reason

    def review(self, pair: Pair, denial_of: Callable[[Child], str | None]) -> list[Event]:
        """Checks the SAs between two addresses again, with another rule."""
        events: list[Event] = []
        for child in self.children(pair):
            denial = denial_of(child)
            if denial is not None:
                self._deny(child, denial)
                events += self._remove(child.unique_id, denial)
        return events

    def _refresh(self, known: Child, row: Child) -> Iterator[Event]:
        """Updates a known SA; its certificate may be known only now."""
        after = replace(
            known,
            ike_id=row.ike_id,
            address_blocks=row.address_blocks,
            mark=row.mark or known.mark,
        )
        self._children.put(row.unique_id, after)
        if after.association != known.association:
            yield SaInstalled(after.association)

    def _read(self, ike: Section, child: Section) -> Child | None:
        if (
            text(child.get("name")) not in self._names
            or text(child.get("state")) not in LIVE_STATES
        ):
            return None
        identity = text(ike.get("remote-eap-id")) or text(ike.get("remote-id"))
        certificate = ike.get("remote-cert-data")
        return Child(
            id=0,
            unique_id=number(child.get("uniqueid")),
            ike_id=number(ike.get("uniqueid")),
            local=parse_address(text(ike.get("local-host"))),
            remote=parse_address(text(ike.get("remote-host"))),
            identity=identity,
            answered=text(ike.get("initiator")) != "yes",
            spi_in=text(child.get("spi-in")),
            spi_out=text(child.get("spi-out")),
            address_blocks=self._blocks_of(
                identity, certificate if isinstance(certificate, bytes) else b""
            ),
            mark=mark_of(child),
        )

    def _free_id(self, unique_id: int) -> int:
        """Returns a number that no orphan has: after a restart charon counts from 1 again."""
        identifier = unique_id
        while identifier in self._orphans:
            identifier += 1 << 32
        return identifier

    def _remove(self, unique_id: int, reason: str) -> Iterator[Event]:
        child = self._children.pop(unique_id)
        if child is not None:
            reason = self._ending.get(child.ike_id, reason)
            yield SaGone(child.local, child.remote, child.id, reason)

    def _forget(self, orphan: Child, reason: str) -> Event:
        self._orphans.pop(orphan.id)
        return SaGone(orphan.local, orphan.remote, orphan.id, reason)

    # Lists.

    def listed(self, ikes: Iterable[Section]) -> list[Event]:
        """Applies charon's list after a connect; an SA that is not in it becomes an orphan."""
        self.orphan_all()
        return self.found(ikes)

    def found(self, ikes: Iterable[Section]) -> list[Event]:
        """Adds the children of listed IKE_SAs; an SA that is not listed does not change.

        Known SAs come first (of two peers at one address, this is the one that has it), then the
        others, the oldest first.
        """
        events: list[Event] = []
        found = [(ike, child) for ike in ikes for _, child in children_of(ike)]
        known = {(each.unique_id, each.spi_in) for each in self._orphans}

        def place(both: tuple[Section, Section]) -> tuple[bool, int]:
            unique_id = number(both[1].get("uniqueid"))
            return (unique_id, text(both[1].get("spi-in"))) not in known, unique_id

        for ike, child in sorted(found, key=place):
            try:
                events.extend(self._add(ike, child))
            except ValueError:
                self.ignored += 1
        return events

    def unknown(self, ikes: Iterable[Section]) -> list[Section]:
        """Returns the IKE_SAs with a child of ours that is not in the table."""
        return [
            ike
            for ike in ikes
            if any(
                is_ours(child, self._names) and number(child.get("uniqueid")) not in self._children
                for _, child in children_of(ike)
            )
        ]

    def has_ours(self, ike: Section) -> bool:
        """Returns whether an IKE_SA has a child of ours."""
        return any(is_ours(child, self._names) for _, child in children_of(ike))

    def missing(self, ikes: Iterable[Section], asked_of: Collection[int]) -> list[Event]:
        """Removes the children in `asked_of` that charon does not list."""
        there = {
            number(child.get("uniqueid"))
            for ike in ikes
            for _, child in children_of(ike)
            if text(child.get("state")) in LIVE_STATES
        }
        events: list[Event] = []
        for unique_id in set(asked_of) - there:
            events.extend(self._remove(unique_id, "charon has it no more"))
        return events

    def orphan_all(self) -> None:
        """Makes all SAs orphans: charon is gone, and its numbers are no longer valid."""
        for each in self._children:
            self._orphans.put(each.id, each)
        self._children.clear()
        self._ending.clear()

    def bury(self, dead: Callable[[Child], str | None]) -> list[Event]:
        """Removes the orphans for which `dead` returns a reason."""
        return [
            self._forget(each, reason)
            for each in self._orphans
            if (reason := dead(each)) is not None
        ]


def _same(known: Child, row: Child) -> bool:
    return (known.spi_in, known.spi_out, known.pair) == (row.spi_in, row.spi_out, row.pair)


def _at(child: Child) -> str:
    return format_address(child.remote)
