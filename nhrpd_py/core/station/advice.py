"""What an operator should know about the settings of a tunnel that works: what they leave open, what they refuse."""

from collections.abc import Iterator

from nhrpd_py.core.address import IPV4_SIZE, is_public, prefix_of
from nhrpd_py.core.station.interface import Interface

_USUAL_LENGTH = 24


def advice(interface: Interface) -> Iterator[tuple[str, str]]:
    """Yields settings that are missing, each with what follows from that and the line to add."""
    config = interface.config
    circuits = interface.circuits
    if circuits.protected and not circuits.policy.restricts:
        problem = (
            "every peer that IKE lets in may have any free tunnel address and any network behind it; "
            f"[[interface.{config.name}.authorize]] says who may have what"
        )
        yield "authorize", problem
    if any(len(each.address) == IPV4_SIZE for each in config.overlay):
        return
    for each in interface.addresses:
        is_ipv4 = len(each.address) == IPV4_SIZE
        if is_ipv4 and is_public(each.address) and not interface.on_link(each.address):
            network = prefix_of(each.address, _USUAL_LENGTH)
            problem = (
                "the tunnel has a public address, and such addresses of others are refused; "
                f'if the cloud has them: overlay = ["{network}"] in [interface.{config.name}]'
            )
            yield "overlay", problem
            return
