"""Who has how much of a table with a limit: the largest user makes room, so that none starves the others."""

from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Shares(Generic[K]):
    """The keys of a table, by the user that caused each. All operations take the same short time, however many."""

    __slots__ = ("_by_size", "_keys", "_largest", "_users")

    def __init__(self) -> None:
        self._users: dict[K, Hashable] = {}
        self._keys: dict[Hashable, dict[K, None]] = {}
        """By user, the oldest first."""
        self._by_size: dict[int, dict[Hashable, None]] = {}
        """By number of keys: its users."""
        self._largest = 0
        """The greatest number of keys that a user has."""

    def __len__(self) -> int:
        return len(self._users)

    def add(self, key: K, user: Hashable) -> None:
        """Adds a key of a user; one that is there already becomes the newest, and this user's."""
        self.discard(key)
        keys = self._keys.setdefault(user, {})
        keys[key] = None
        self._users[key] = user
        self._resize(user, len(keys) - 1, len(keys))

    def discard(self, key: K) -> None:
        """Removes a key; harmless for an unknown one."""
        user = self._users.pop(key, None)
        if user is None:
            return
        keys = self._keys[user]
        del keys[key]
        self._resize(user, len(keys) + 1, len(keys))
        if not keys:
            del self._keys[user]

    def count(self, user: Hashable) -> int:
        """Returns how many keys a user has."""
        return len(self._keys.get(user, ()))

    def of_largest(self) -> Collection[K]:
        """Returns the keys of the user that has most of them, the oldest first."""
        users = self._by_size.get(self._largest)
        return self._keys[next(iter(users))].keys() if users else ()

    def _resize(self, user: Hashable, before: int, after: int) -> None:
        if before:
            del self._by_size[before][user]
            if not self._by_size[before]:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, {})[user] = None
        if after > self._largest or (before == self._largest and before not in self._by_size):
            self._largest = after
