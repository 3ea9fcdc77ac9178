"""What opennhrp.conf says, and what the scripts beside it did."""

from nhrpd_py.cli.importing import actions as do
from nhrpd_py.cli.importing.node import Server, Setting
from nhrpd_py.cli.importing.rules import Action, Found, Place, Rule, Rules
from nhrpd_py.config.values import nbma_or_name, nhs_protocol


def place_map(place: Place, protocol: str, nbma: str, *, register: bool) -> None:
    """A map with `register` is a server: its prefix length tells the tunnel's network, which needs no
    words with us. Without it, it is a binding."""
    try:
        if register:
            address = do.checked(nhs_protocol, protocol.partition("/")[0])
            do.add_server(place, Server(address, do.checked(nbma_or_name, nbma), place.where))
        else:
            do.add_binding(place, protocol, nbma)
    except do.UnfitError as error:
        place.refuse(f"The value does not fit: {error}.")


def _map(place: Place, found: Found) -> None:
    words = found.get("REST", "").split()
    place_map(place, found["PROTOCOL"], found["NBMA"], register="register" in words)
    if "no-unique" in words:
        place.set("unique", value=False)


def _destination(place: Place, _found: Found) -> None:
    place.node.general["", "shortcut"] = Setting(
        value=True,
        remark=f"{place.where}: answers for what is behind {place.subject}",
    )
    place.node.note(
        f"{place.where}: {place.subject} is a network behind this node. nhrpd answers for all that routes "
        "lead to other than by its tunnels (shortcut = true), so such interfaces are not named."
    )


@do.guarded
def _tables(place: Place, found: Found) -> None:
    """The table counts for all interfaces, wherever the line stands."""
    place.node.general["", "lookup-tables"] = Setting([do.whole(found["NUMBER"])], place.where)


def _interface(
    command: str, becomes: str, action: Action | None = None, *, needs: str = ""
) -> Rule:
    return Rule(command, becomes, action, block="interface", needs=needs)


TABLE = (
    _interface(
        "map PROTOCOL NBMA register [REST]",
        "`[[interface.NAME.nhs]]`; the prefix length is left out",
        lambda place, found: _map(place, {**found, "REST": f"register {found.get('REST', '')}"}),
    ),
    _interface(
        "map PROTOCOL NBMA [REST]", "`[[interface.NAME.map]]`; no-unique: `unique = false`", _map
    ),
    _interface(
        "dynamic-map PREFIX NAME",
        '`[[interface.NAME.nhs]]` with `protocol = "dynamic"`',
        do.dynamic_server("NAME"),
    ),
    _interface("holding-time NUMBER", "`holding-time`", do.holding_time()),
    _interface("cisco-authentication SECRET", "`authentication`", do.authentication()),
    _interface("shortcut", "`shortcut = true`", do.flag("shortcut")),
    _interface(
        "redirect",
        "`redirect = true`, and the firewall rule that samples: OpenNHRP looked at all packets itself",
        do.flag("redirect"),
    ),
    _interface(
        "multicast TARGET", "`multicast`", do.appended("multicast", "TARGET"), needs="multicast"
    ),
    _interface(
        "shortcut-target PREFIX [holding-time NUMBER]",
        "`shortcut-target`",
        do.appended("shortcut-target", "PREFIX"),
        needs="shortcut-target",
    ),
    _interface(
        "shortcut-destination",
        "`shortcut = true` on the tunnel: nhrpd answers for what routes say is behind the node",
        _destination,
    ),
    _interface("non-caching", "nothing: nhrpd keeps no answers that it passes on", do.nothing),
    _interface(
        "route-table NUMBER",
        "`lookup-tables`",
        _tables,
        needs="lookup-tables",
    ),
    Rule(
        "route-table NUMBER",
        "`lookup-tables`",
        _tables,
        needs="lookup-tables",
        documented=False,
    ),
)
SCRIPTS = (
    Rule(
        "peer-register",
        "Not carried over: who may register what is said by [[interface.NAME.authorize]] (identity, protocol, "
        'prefixes), or by the peers\' certificates with [interface.NAME.ipsec] authorize = "certificate".',
        block="script",
    ),
    Rule(
        "peer-up|peer-down",
        "Not carried over by itself: nhrpd has charon make and end the SAs ([interface.NAME.ipsec]). For other "
        "work of the script: [hooks].",
        block="script",
        needs="hooks",
    ),
    Rule(
        "nhs-up|nhs-down",
        "Not carried over by itself: [hooks] runs programs of yours; `nhrpctl monitor` tells of servers.",
        block="script",
        needs="hooks",
    ),
    Rule(
        "route-up|route-down",
        "Not carried over, and not needed: nhrpd puts the routes of shortcuts into the kernel itself "
        "(protocol 208), and takes them out.",
        block="script",
    ),
    Rule(
        "interface-up",
        "Not carried over, and not needed: nhrpd clears what an earlier run left in the kernel by itself.",
        block="script",
    ),
)
"""Events that opennhrp-script is called for."""

RULES = Rules((*TABLE, *SCRIPTS))
