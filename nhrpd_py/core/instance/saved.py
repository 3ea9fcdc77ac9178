"""What the next start should know of this run, and how many peers there are."""

from collections.abc import Mapping

from nhrpd_py.core.address import Afi
from nhrpd_py.core.context import Context
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.state import SavedBinding, SavedState
from nhrpd_py.core.station.binding import BindingType

Instances = Mapping[str, Mapping[Afi, Instance]]


def saved_state(context: Context, instances: Instances, now: float) -> SavedState:
    """What the next start should know: the request id, and what clients registered with us."""
    bindings = tuple(
        SavedBinding(
            interface=name,
            protocol=binding.protocol,
            nbma=binding.nbma,
            claimed_nbma=binding.claimed_nbma,
            unique=binding.unique,
            remaining_s=binding.expires_at - now,
        )
        for name, of_interface in instances.items()
        for instance in of_interface.values()
        for binding in instance.station.cache
        if binding.type is BindingType.DYNAMIC and not binding.adopted
    )
    return SavedState(request_id=context.request_id, bindings=bindings)


def peer_count(instances: Instances) -> int:
    """How many rows the view of peers has at least: NBMA addresses of each tunnel's bindings."""
    return len(
        {
            (name, binding.nbma)
            for name, of_interface in instances.items()
            for instance in of_interface.values()
            for binding in instance.station.cache
        }
    )
