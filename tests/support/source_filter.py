"""Protected routers whose SAs have marks, and the packet filter that their effects make."""

from nhrpd_py.core.address import Prefix, parse_prefix
from nhrpd_py.core.effects import (
    AllowSources,
    Effect,
    FilterSources,
    ForgetMark,
    UnfilterSources,
)
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import Node, sent, the
from tests.support.ipsec import (
    a_protected_hub,
    a_protected_spoke,
    installed,
)
from tests.support.messages import (
    a_registration_reply,
    a_registration_request,
)
from tests.support.sites import (
    HUB,
    nbma,
)


class Filter:
    """The packet filter of one tunnel, as the effects make it."""

    def __init__(self, effects: list[Effect]) -> None:
        self.drops: bool | None = None
        self.sources: dict[int, set[str]] = {}
        self.apply(effects)

    def apply(self, effects: list[Effect]) -> "Filter":
        for effect in effects:
            match effect:
                case FilterSources(_, drop):
                    self.drops = drop
                case UnfilterSources():
                    self.drops, self.sources = None, {}
                case AllowSources(_, mark, added, removed):
                    of_mark = self.sources.setdefault(mark, set())
                    assert of_mark.issuperset(map(str, removed)), "removed what was not there"
                    of_mark -= set(map(str, removed))
                    assert not of_mark.intersection(map(str, added)), "added what was there"
                    of_mark |= set(map(str, added))
                    assert not _overlap(of_mark)
                case ForgetMark(_, mark):
                    del self.sources[mark]
                case _:
                    pass
        return self

    def of(self, mark: int) -> list[str]:
        return sorted(self.sources[mark])


def _overlap(texts: set[str]) -> bool:
    prefixes: list[Prefix] = list(map(parse_prefix, texts))
    return any(one is not two and one.covers(two) for one in prefixes for two in prefixes)


EVERYTHING = ["0.0.0.0/0", "::/0"]
MARK_OF_HUB = 1
LAN = "172.16.{}.0/24"


def a_filtering_hub(**settings: object) -> tuple[Node, Filter]:
    """The hub, with marked SAs to spokes 2 and 3; the sites have the routes to their LANs."""
    hub = a_protected_hub(**{"redirect": True, **settings})  # type: ignore[arg-type]
    found = Filter(hub.started)
    for number in (2, 3):
        found.apply(hub.give(installed(number, local=1, mark=number)))
        found.apply(hub.receive(a_registration_request(number), nbma(number)))
    return hub, found


def a_filtering_spoke(**settings: object) -> tuple[Node, Filter]:
    """Spoke 2, with a marked SA to the hub, its server."""
    spoke = a_protected_spoke(registered=False, **settings)  # type: ignore[arg-type]
    found = Filter(spoke.started)
    effects = spoke.give(installed(1, mark=MARK_OF_HUB))
    request = the(sent(effects, PacketType.REGISTRATION_REQUEST))
    found.apply(effects + spoke.receive(a_registration_reply(request), HUB.nbma))
    return spoke, found
