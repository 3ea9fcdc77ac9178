"""A restarted hub: what the state file, the kernel and the clients say of where the clients are."""

import pytest

from nhrpd_py.core.config import NhsConfig
from nhrpd_py.core.effects import DropNeighbor, SetNeighbor
from nhrpd_py.core.events import BindingFound, NameResolved
from nhrpd_py.packet.iana import PacketType
from tests.support.engine import a_hub, a_spoke, of, sent
from tests.support.messages import a_registration_request
from tests.support.paths import probes
from tests.support.sites import GRE, an_nhs, nbma, tunnel

SAVED = BindingFound(GRE, tunnel(2), nbma(2), 25.0)
"""The client as the state file has it."""
IN_KERNEL = BindingFound(GRE, tunnel(2), nbma(9), None)
"""It moved after the file was written, before the crash."""


def test_the_kernel_knows_better_than_the_state_file_where_a_client_is() -> None:
    hub = a_hub()
    hub.give(SAVED)
    effects = hub.give(IN_KERNEL)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(2), nbma(9))]
    assert of(effects, DropNeighbor) == []
    assert hub.cache() == {"10.255.255.2": ("dynamic", "192.168.100.9")}
    # It is asked, as every client that nobody but the kernel speaks for.
    assert [each.type for each in sent(hub.run(0.3))] == [PacketType.PURGE_REQUEST]


def test_the_kernel_does_not_overrule_a_client_that_spoke_up_in_this_run() -> None:
    hub = a_hub()
    hub.give(SAVED)
    hub.receive(a_registration_request(2), nbma(2), now=0.1)
    assert hub.give(IN_KERNEL, now=0.2) == []
    assert hub.cache(0.2) == {"10.255.255.2": ("dynamic", "192.168.100.2")}


def test_a_client_that_file_and_kernel_agree_on_keeps_its_time() -> None:
    hub = a_hub()
    hub.give(SAVED)
    assert hub.give(BindingFound(GRE, tunnel(2), nbma(2), None)) == []
    assert sent(hub.run(24.0)) == []
    hub.run(25.0)
    assert hub.cache(25.0) == {}


def test_a_spoke_proves_the_paths_of_its_earlier_run_anew() -> None:
    """It has no clients: what the kernel has was learnt by resolution."""
    spoke = a_spoke(2, path_check_s=3)
    effects = spoke.give(BindingFound(GRE, tunnel(3), nbma(3), None))
    assert of(effects, DropNeighbor) == []  # its traffic goes on meanwhile
    assert spoke.cache()["10.255.255.3"] == ("cached", "192.168.100.3")
    assert probes(effects)
    assert of(spoke.run(1.9), DropNeighbor) == []
    assert of(spoke.run(2.0), DropNeighbor) == [DropNeighbor(GRE, tunnel(3))]


@pytest.mark.parametrize(
    "server", [an_nhs(), an_nhs("hub.example.net"), an_nhs("192.168.100.9", protocol=tunnel(1))]
)
def test_an_entry_that_may_lead_to_the_server_is_no_path_to_a_spoke(server: NhsConfig) -> None:
    spoke = a_spoke(2, path_check_s=3, registered=False, nhs=(server,))
    effects = spoke.give(BindingFound(GRE, tunnel(1), nbma(1), None))
    assert sent(effects, PacketType.RESOLUTION_REQUEST) == []
    assert spoke.cache()["10.255.255.1"] == ("dynamic", "192.168.100.1")


def test_what_is_found_before_a_servers_name_is_looked_up_is_proven_afterwards() -> None:
    """It was taken for a client's, and its traffic stayed on a dead path for the whole holding time."""
    spoke = a_spoke(2, path_check_s=3, registered=False, nhs=(an_nhs("hub.example.net"),))
    found = [BindingFound(GRE, tunnel(number), nbma(number), None) for number in (1, 3)]
    assert sent(spoke.give(*found), PacketType.RESOLUTION_REQUEST) == []
    effects = spoke.give(NameResolved("hub.example.net", (nbma(1),), None), now=1.0)
    assert of(effects, DropNeighbor) == []
    assert probes(effects)
    assert spoke.cache(1.0) == {
        "10.255.255.1": ("dynamic", "192.168.100.1"),
        "10.255.255.3": ("cached", "192.168.100.3"),
    }
    assert of(spoke.run(3.0), DropNeighbor) == [DropNeighbor(GRE, tunnel(3))]
