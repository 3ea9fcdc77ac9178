"""For whom the bindings of a cache count, and how many each has: a limit per sender keeps room for the others."""

from collections.abc import Callable

from nhrpd_py.core.address import Address
from nhrpd_py.core.station.binding import Binding, BindingType


class Senders:
    """The number of bindings by `Binding.counts_for`; configured ones count for nobody, the empty address."""

    __slots__ = ("_counts", "_of_nbma")

    def __init__(self, of_nbma: Callable[[Address], tuple[Binding, ...]]) -> None:
        """`of_nbma` returns the bindings that lead to an NBMA address."""
        self._counts: dict[Address, int] = {}
        self._of_nbma = of_nbma

    def count(self, sender: Address) -> int:
        """Returns how many bindings count for a sender."""
        return self._counts.get(sender, 0)

    def largest(self) -> int:
        """Returns the number of bindings of the sender that has most of them."""
        return max(self._counts.values(), default=0)

    def user(self, sender: Address, nbma: Address) -> Address:
        """Returns for whom a binding counts: its sender, or itself where that is a server of ours, which hands on."""
        if sender in (nbma, b""):
            return sender
        is_handed_on = any(each.type > BindingType.DYNAMIC for each in self._of_nbma(sender))
        return nbma if is_handed_on else sender

    def charge(self, binding: Binding, user: Address) -> None:
        """Counts a binding for a user instead of the one that it counted for."""
        counts, before = self._counts, binding.counts_for
        if user == before:
            return
        if before:
            counts[before] -= 1
            if not counts[before]:
                del counts[before]
        if user:
            counts[user] = counts.get(user, 0) + 1
        binding.counts_for = user
