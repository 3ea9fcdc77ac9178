"""CHILD_SAs as charon reports them, by number and by their pair of outer addresses. No IO."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from nhrpd_py.core.address import Address, Prefix
from nhrpd_py.core.events import Association

Pair: TypeAlias = tuple[Address, Address]
"""Our outer address and the peer's."""


@dataclass(frozen=True, slots=True)
class Child:
    """An installed CHILD_SA."""

    id: int
    """The engine's number for it: charon's uniqueid, unless an orphan still has that number."""
    unique_id: int
    ike_id: int
    local: Address
    remote: Address
    identity: str
    answered: bool
    """The peer initiated its IKE_SA, or was the last to rekey it."""
    spi_in: str
    spi_out: str
    address_blocks: tuple[Prefix, ...] | None = None
    mark: int = 0
    """What the kernel gives to what comes out of it; 0 for none."""

    @property
    def pair(self) -> Pair:
        return self.local, self.remote

    @property
    def association(self) -> Association:
        return Association(
            id=self.id,
            local=self.local,
            remote=self.remote,
            identity=self.identity,
            address_blocks=self.address_blocks,
            mark=self.mark,
        )


class Children:
    """CHILD_SAs indexed by number and by pair of addresses; there may be thousands."""

    __slots__ = ("_by_number", "_by_pair")

    def __init__(self) -> None:
        self._by_number: dict[int, Child] = {}
        self._by_pair: dict[Pair, dict[int, Child]] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def __contains__(self, number: int) -> bool:
        return number in self._by_number

    def __iter__(self) -> Iterator[Child]:
        """Iterates over a copy: the loop may put and pop."""
        return iter(list(self._by_number.values()))

    def get(self, number: int) -> Child | None:
        return self._by_number.get(number)

    def of(self, pair: Pair) -> list[Child]:
        return list(self._by_pair.get(pair, {}).values())

    def has(self, pair: Pair) -> bool:
        """Returns whether there is a CHILD_SA between two addresses."""
        return pair in self._by_pair

    def put(self, number: int, child: Child) -> None:
        """Adds a CHILD_SA, in place of one with the same number."""
        self.pop(number)
        self._by_number[number] = child
        self._by_pair.setdefault(child.pair, {})[number] = child

    def pop(self, number: int) -> Child | None:
        child = self._by_number.pop(number, None)
        if child is not None:
            of_pair = self._by_pair[child.pair]
            del of_pair[number]
            if not of_pair:
                del self._by_pair[child.pair]
        return child

    def clear(self) -> None:
        self._by_number.clear()
        self._by_pair.clear()
