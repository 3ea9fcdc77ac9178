"""The words and flags of the tables of `nhrpctl`, with what each means."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]

CACHE_FLAGS = {
    "U": ("up", "up: packets can be sent to it"),
    "u": ("used", "used: traffic went there lately"),
    "q": ("unique", "unique: nobody else may register this address"),
    "a": ("authorized", "authorized: its peer may have this address"),
    "n": ("nat", "nat: behind a NAT, which changes its outer address"),
}
CACHE_TYPES = {
    "local": "our own address",
    "static": "from the configuration (map)",
    "nhs": "a next hop server of ours",
    "dynamic": "a client that registered here",
    "cached": "learnt by resolution",
    "incomplete": "being resolved; asked again when it expires",
    "negative": "could not be resolved; not asked again until it expires",
}
NHS_STATES = {
    "down": "not asked: no NBMA address to ask at, or the tunnel does not work",
    "standby": "not asked: a better server is up, or on its first tries",
    "registering": "asked lately, no answer yet",
    "refused": "the server refuses us, see the last error; asked again",
    "probe": "lost, or not to be reached; asked again, at most every 64 s",
    "up": "registered",
}
SHORTCUT_STATES = {
    "incomplete": "no answer yet; traffic takes the hub",
    "waiting": "answered; no security association or no proven path yet, traffic takes the hub",
    "active": "traffic goes directly",
    "negative": "no direct way; traffic takes the hub until it expires",
}
PATH_STATES = {
    "trying": "not known yet whether packets go both ways; traffic takes the hub",
    "proven": "packets go both ways",
    "believed": "it answers no probes, but its messages arrive",
    "failed": "packets do not go both ways; traffic takes the hub",
}
IPSEC_STATES = {
    "none": "not protected by IPsec",
    "wanted": "no security association with it yet",
    "up": "protected",
    "failed": "IPsec failed; see the last error",
}
PROBLEM_KINDS = {
    "link": "the netdev is not there, down, or unfit",
    "refused": "the tunnel is closed: the kernel or the clear-text guard refused it",
    "stranded": "no packet can leave: no outer address, or its underlay is gone",
    "address": "the tunnel has no address",
    "charon": "charon cannot be reached",
    "deserted": "charon stays away: direct ways are given up",
    "losing": "the kernel loses packets in the tunnel",
    "undelivered": "an ICMP error tells that packets do not arrive",
    "one-way": "packets leave through an SA, and none come back",
    "sa-failed": "no security association with the peer can be made",
    "identity-in-turn": "two peers use one identity",
    "address-in-turn": "two peers claim one tunnel address",
    "server-lost": "a server does not answer",
    "server-refuses": "a server refuses us",
    "server-recursion": "a server's outer address is routed into the tunnel",
    "server-name": "a server's name has no usable address",
    "path-failed": "the direct path to a peer does not carry",
}
SA_FLAGS: Mapping[str, tuple[Callable[[Row], bool], str]] = {
    "i": (lambda row: bool(row["initiator"]), "we initiated it"),
    "n": (lambda row: bool(row["encap"]), "in UDP: one of us is behind NAT"),
    "t": (lambda row: row["mode"] not in (None, "TRANSPORT"), "not in transport mode: not used"),
}
SA_STATES = {
    "wanted": "charon is not asked for it yet",
    "trying": "charon is making it",
    "failed": "could not be made; tried again",
    "orphaned": "charon was restarted: only the kernel has it",
    "INSTALLED": "in use",
    "REKEYING": "in use, being replaced",
    "REKEYED": "replaced by a newer one",
}
"""Of a wish of ours, and in capitals what charon calls an SA that it has."""
ROUTE_KINDS = {
    "host": "to a tunnel address",
    "shortcut": "to what lies behind a peer",
}


INTERFACE_ROLES = {
    "redirect": "tells peers of direct ways, as hubs do",
    "shortcut": "takes direct ways and offers its own, as spokes do",
}
