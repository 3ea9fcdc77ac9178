"""Reads IKE_SAs and their CHILD_SAs in charon's events and lists. No IO."""

from collections.abc import Collection, Mapping

from nhrpd_py.core.address import parse_address
from nhrpd_py.runtime.vici.sas.children import Pair
from nhrpd_py.runtime.vici.wire.connection import Section, sections, text

LIVE_STATES = frozenset({"INSTALLED", "REKEYING", "REKEYED", "UPDATING"})
"""States of a CHILD_SA that is in the kernel."""
WHOLE_MARK = 0xFFFFFFFF
TRANSPORT_MODES = frozenset({"TRANSPORT", "TRANSPORT_PROXY"})


def children_of(ike: Section) -> list[tuple[str, Section]]:
    """Returns the CHILD_SAs of an IKE_SA with the names of their sections."""
    children = ike.get("child-sas")
    return sections(children) if isinstance(children, Mapping) else []


def is_ours(child: Section, names: Collection[str]) -> bool:
    """Returns whether a CHILD_SA concerns the engine: installed, in transport mode, with one of the
    names."""
    return (
        text(child.get("name")) in names
        and text(child.get("state")) in LIVE_STATES
        and text(child.get("mode")) in TRANSPORT_MODES
    )


def pair_of(ike: Section) -> Pair | None:
    """Returns the addresses of an IKE_SA, or None where it has none yet."""
    try:
        local, remote = (text(ike.get(f"{end}-host")) for end in ("local", "remote"))
        return parse_address(local), parse_address(remote)
    except ValueError:
        return None


def mark_of(child: Section) -> int:
    """Returns the mark that a CHILD_SA gives to what comes out of it, which charon writes in hexadecimal; 0 for none,
    and for one that is only some bits of a mark."""
    try:
        mask = int(text(child.get("mark-mask-in"), "ffffffff"), 16)
        return int(text(child.get("mark-in"), "0"), 16) if mask == WHOLE_MARK else 0
    except ValueError:
        return 0


def child_end(ike: Section, child: Section) -> str:
    """Returns why a CHILD_SA ended, from the states in its last event."""
    if text(child.get("state")) == "DELETED":
        return "the CHILD_SA was deleted"
    return ike_end(ike)


def ike_end(ike: Section) -> str:
    """Returns why an IKE_SA ended, from the state in its last event."""
    match text(ike.get("state")):
        case "DELETING":
            return "the IKE_SA was deleted"
        case "ESTABLISHED" | "REKEYING" | "REKEYED":
            return "the peer answers no more"
        case _:
            return "the IKE_SA is gone"
