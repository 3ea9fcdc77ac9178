"""The links of this machine and their addresses, as the kernel last reported them. Fed by `handlers.links`."""

from dataclasses import dataclass

from nhrpd_py.core.address import Address
from nhrpd_py.core.events import AddressAdded, LinkChanged


@dataclass(slots=True, eq=False)
class Link:
    """A link of this machine with its addresses, in the order in which they came."""

    state: LinkChanged
    addresses: dict[tuple[Address, int], AddressAdded]


class Links:
    """All links of this machine, by ifindex and by name."""

    __slots__ = ("_by_name", "by_ifindex")

    def __init__(self) -> None:
        self.by_ifindex: dict[int, Link] = {}
        self._by_name: dict[str, Link] = {}

    def change(self, event: LinkChanged) -> None:
        """Adds a link or updates it; a link may also change its name."""
        link = self.by_ifindex.get(event.ifindex)
        if link is None:
            link = self.by_ifindex[event.ifindex] = Link(event, {})
        elif self._by_name.get(link.state.name) is link:
            del self._by_name[link.state.name]
        link.state = event
        self._by_name[event.name] = link

    def remove(self, ifindex: int) -> Link | None:
        link = self.by_ifindex.pop(ifindex, None)
        if link is not None and self._by_name.get(link.state.name) is link:
            del self._by_name[link.state.name]
        return link

    def named(self, name: str) -> Link | None:
        return self._by_name.get(name)

    def holder(self, address: Address) -> str | None:
        """Returns the name of the link that has an address."""
        for link in self.by_ifindex.values():
            if any(own == address for own, _ in link.addresses):
                return link.state.name
        return None
