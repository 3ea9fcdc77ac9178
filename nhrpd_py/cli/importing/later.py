"""What other systems can be told and nhrpd cannot yet: the one place to switch it on.

A rule of the tables that `needs` one of these keys is not carried over, with the reason given here.
Its action is written already: when the setting exists, its row here is deleted, and that is all.
"""

LATER = {
    "vrf": "nhrpd does not know VRFs yet: tunnel and underlay are in the main one",
    "registration-interval": "nhrpd has no registration interval yet: it renews after a third of "
    "holding-time",
    "cluster": "nhrpd has no limit on the servers of a cluster in use yet: it registers with the best of each",
    "nhs-fallback": "nhrpd cannot wait yet before it returns to a better server: it returns at once",
    "map-prefix": "a map of nhrpd is for one address yet, not for a network",
    "map-name": "a map of nhrpd needs an address yet, not a name",
    "shortcut-target": "nhrpd answers for what its routes say is behind it; prefixes cannot be named yet",
    "summary-map": "nhrpd cannot answer for an aggregate yet: spokes answer for their own networks",
    "group": "nhrpd has no groups yet: nothing shapes traffic for each peer",
    "hooks": "nhrpd runs no programs yet; SAs are charon's ([interface.NAME.ipsec]), and `nhrpctl monitor` tells "
    "of all that happens",
    "event-socket": "nhrpd asks no other program yet; who may have which address is said by "
    "[[interface.NAME.authorize]], or by certificates",
    "lookup-tables": "nhrpd reads the main routing table alone yet",
    "redirect-interval": "nhrpd has no interval for redirects yet: the firewall rule limits them",
}
"""Key → why it is not carried over: what stands behind "because"."""


def reason(key: str, what: str = "Not carried over yet") -> str | None:
    """Returns why a setting is not there yet, as a sentence; None when it is there."""
    why = LATER.get(key)
    return None if why is None else f"{what}, because {why}."
