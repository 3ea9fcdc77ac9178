"""Who needs no proven path, and what is done for nobody: stations that registered, lost addresses, repeated answers."""

from nhrpd_py.core.effects import SetNeighbor
from tests.support.engine import a_hub, of
from tests.support.messages import a_registration_request, a_resolution_request
from tests.support.paths import probes
from tests.support.sites import GRE, host, nbma, tunnel


def test_client_that_registers_while_its_path_is_tried_waits_no_longer() -> None:
    """A hub that was just started is asked by clients that do not know that it has forgotten them."""
    hub = a_hub(path_check_s=3, shortcut=True)
    asked = hub.receive(a_resolution_request(2, host(1)), nbma(2))
    assert probes(asked, 2)
    assert of(asked, SetNeighbor) == []
    effects = hub.receive(a_registration_request(2), nbma(2), now=0.1)
    assert of(effects, SetNeighbor) == [SetNeighbor(GRE, tunnel(2), nbma(2))]
