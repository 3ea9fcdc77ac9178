"""Longest-prefix match for one address family: a dictionary per prefix length.

A lookup costs one dictionary probe for each length in use, which for real routing tables beats a trie in Python.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

from nhrpd_py.core.address import Address, Prefix, prefix_of

T = TypeVar("T")


class PrefixMap(Generic[T]):
    """Values by prefix. All prefixes and addresses of one map are of the size given."""

    __slots__ = ("_bits", "_by_length", "_lengths")

    def __init__(self, address_size: int) -> None:
        self._bits = address_size * 8
        self._by_length: dict[int, dict[int, T]] = {}
        self._lengths: tuple[int, ...] = ()

    def __len__(self) -> int:
        return sum(len(level) for level in self._by_length.values())

    def __setitem__(self, prefix: Prefix, value: T) -> None:
        level = self._by_length.get(prefix.length)
        if level is None:
            level = self._by_length[prefix.length] = {}
            self._lengths = tuple(sorted(self._by_length, reverse=True))
        level[self._key(prefix)] = value

    def __getitem__(self, prefix: Prefix) -> T:
        return self._by_length[prefix.length][self._key(prefix)]

    def get(self, prefix: Prefix) -> T | None:
        level = self._by_length.get(prefix.length)
        return None if level is None else level.get(self._key(prefix))

    def pop(self, prefix: Prefix) -> T | None:
        level = self._by_length.get(prefix.length)
        if level is None:
            return None
        value = level.pop(self._key(prefix), None)
        if not level:
            del self._by_length[prefix.length]
            self._lengths = tuple(sorted(self._by_length, reverse=True))
        return value

    def values(self) -> Iterator[T]:
        for level in self._by_length.values():
            yield from level.values()

    def longest(self, address: Address) -> T | None:
        """Returns the value of the longest prefix that contains the address."""
        return next(self.matches(address), None)

    def matches(self, address: Address) -> Iterator[T]:
        """Yields the values of all prefixes that contain the address, longest first."""
        number = int.from_bytes(address)
        for length in self._lengths:
            value = self._by_length[length].get(number >> (self._bits - length))
            if value is not None:
                yield value

    def items_around(self, address: Address) -> Iterator[tuple[Prefix, T]]:
        """Yields the prefixes that contain the address with their values, longest first."""
        for length in self._lengths:
            prefix = prefix_of(address, length)
            value = self.get(prefix)
            if value is not None:
                yield prefix, value

    def inside(self, prefix: Prefix) -> Iterator[T]:
        """Yields the values of all prefixes within a prefix, itself included. Looks at every longer prefix."""
        key = self._key(prefix)
        for length in self._lengths:
            if length < prefix.length:
                return
            shift = length - prefix.length
            for other, value in self._by_length[length].items():
                if other >> shift == key:
                    yield value

    def _key(self, prefix: Prefix) -> int:
        return int.from_bytes(prefix.address) >> (self._bits - prefix.length)
