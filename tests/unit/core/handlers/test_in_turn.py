"""Two machines that use one identity, or one tunnel address, and take it from each other again and again."""

from nhrpd_py.core.effects import Effect
from nhrpd_py.core.ipsec.handovers import MAX_LEFT, Handovers
from nhrpd_py.core.notices import ClaimContested
from nhrpd_py.core.queries import View
from tests.support.engine import Node, a_hub, of, the
from tests.support.ipsec import a_protected_hub, gone, installed
from tests.support.messages import a_registration_request
from tests.support.sites import nbma, tunnel

TWIN = "spoke2.example"
OR_ONE = ", or one machine whose uplink changes again and again"
ONE_ADDRESS = (
    "10.255.255.2 is claimed by 192.168.100.2 and 192.168.100.5 in turn: one tunnel address on two "
    f"machines{OR_ONE}"
)
ONE_IDENTITY = (
    "spoke2.example is used by 192.168.100.2 and 192.168.100.5 in turn: one certificate or identity on two "
    f"machines, which end each other's security associations{OR_ONE}"
)


def register(hub: Node, where: int, now: float) -> list[Effect]:
    """A machine with the tunnel address of site 2 registers from another site's outer address."""
    return hub.receive(a_registration_request(2, source_nbma=nbma(where)), nbma(where), now=now)


def last_errors(hub: Node, now: float) -> dict[object, object]:
    rows = hub.table(View.PEERS, "nbma", "last_error", now=now)
    return {nbma: error for nbma, error in rows if error}


def problems(hub: Node, now: float) -> list[tuple[object, ...]]:
    return hub.table(View.PROBLEMS, "kind", "nbma", "subject", "reason", now=now)


def test_one_tunnel_address_on_two_machines() -> None:
    hub = a_hub()
    for now, where in ((0.0, 2), (5.0, 5), (10.0, 2)):
        assert of(register(hub, where, now), ClaimContested) == []
    notice = the(of(register(hub, 5, 15.0), ClaimContested))
    assert (notice.subject, notice.nbma, notice.previous_nbma) == ("10.255.255.2", nbma(5), nbma(2))
    assert notice.reason == ONE_ADDRESS
    assert of(register(hub, 2, 20.0), ClaimContested) == []  # once a minute
    assert hub.table(View.CACHE, "type", "problem", now=20.0)[1:] == [("dynamic", ONE_ADDRESS)]
    assert last_errors(hub, 20.0) == {"192.168.100.2": ONE_ADDRESS}
    assert problems(hub, 20.0) == [
        ("address-in-turn", "192.168.100.5", "10.255.255.2", ONE_ADDRESS),
        ("address-in-turn", "192.168.100.2", "10.255.255.2", ONE_ADDRESS),
    ]
    assert of(register(hub, 5, 79.0), ClaimContested)


def test_it_is_over_after_three_holding_times_without_a_move() -> None:
    hub = a_hub()
    for now, where in ((0.0, 2), (5.0, 5), (10.0, 2), (15.0, 5)):
        register(hub, where, now)
    for now in (65.0, 115.0, 165.0):
        register(hub, 5, now)
        assert problems(hub, now)
    register(hub, 5, 215.0)
    assert problems(hub, 215.0) == []
    assert hub.table(View.CACHE, "problem", now=215.0) == [(None,), (None,)]


def test_a_client_that_moves_there_and_back_is_one_machine() -> None:
    hub = a_hub()
    for now, where in ((0.0, 2), (5.0, 5), (10.0, 2)):
        register(hub, where, now)
    assert problems(hub, 11.0) == []


def take(
    hub: Node, winner: int, loser: int, now: float, *, gone_first: bool = False
) -> list[Effect]:
    """One machine gets an SA, and charon ends that of the other one, which has the same identity."""
    number = round(now * 10)
    begins = installed(winner, local=1, id=number, identity=TWIN)
    hub_has = hub.__dict__.setdefault("sas", {})
    ends = gone(loser, local=1, id=hub_has.pop(loser, 0), reason="replaced")
    hub_has[winner] = number
    events = (ends, begins) if gone_first else (begins, ends)
    return [*hub.give(events[0], now=now), *hub.give(events[1], now=now + 0.5)]


def test_one_identity_on_two_machines() -> None:
    hub = a_protected_hub()
    for number, (winner, loser) in enumerate([(2, 5), (5, 2), (2, 5)]):
        effects = take(hub, winner, loser, 1.0 + 3 * number, gone_first=bool(number % 2))
        assert of(effects, ClaimContested) == []
    notice = the(of(take(hub, 5, 2, 10.0), ClaimContested))
    assert (notice.subject, notice.nbma, notice.previous_nbma) == (TWIN, nbma(5), nbma(2))
    assert notice.reason == ONE_IDENTITY
    hub.receive(a_registration_request(5), nbma(5), now=11.0)
    assert last_errors(hub, 11.0) == {"192.168.100.5": ONE_IDENTITY}
    assert set(problems(hub, 11.0)) == {
        ("identity-in-turn", "192.168.100.2", TWIN, ONE_IDENTITY),
        ("identity-in-turn", "192.168.100.5", TWIN, ONE_IDENTITY),
    }
    assert problems(hub, 700.0) == []


def test_rekeyings_of_a_machine_with_two_uplinks_are_no_moves() -> None:
    hub = a_protected_hub()
    effects: list[Effect] = []
    for number in range(10):
        for where in (2, 5):
            new = installed(where, local=1, id=100 * where + number, identity=TWIN)
            effects += hub.give(new, now=float(number))
            effects += hub.give(gone(where, local=1, id=100 * where + number - 1), now=number + 0.1)
    assert of(effects, ClaimContested) == []
    assert problems(hub, 10.0) == []


def test_a_machine_with_two_uplinks_whose_sas_all_end_together_does_not_move_in_turn() -> None:
    """As at each restart of charon."""
    hub = a_protected_hub()
    effects: list[Effect] = []
    for number in range(1, 6):
        for where in (2, 5):
            new = installed(where, local=1, id=100 * where + number, identity=TWIN)
            effects += hub.give(new, now=number * 60.0)
        for where in (2, 5):
            end = gone(where, local=1, id=100 * where + number)
            effects += hub.give(end, now=number * 60.0 + 58.0)
    assert of(effects, ClaimContested) == []


def test_a_slow_change_is_a_move() -> None:
    """The peer's dead peer detection took its time: it has moved."""
    hub = a_protected_hub()
    now, effects = 0.0, []
    for number, (here, there) in enumerate([(2, 5), (5, 2)] * 3, start=1):
        now += 30.0
        effects += hub.give(installed(there, local=1, id=number, identity=TWIN), now=now)
        effects += hub.give(gone(here, local=1, id=number - 1), now=now + 20.0)
    assert of(effects, ClaimContested) == []


def test_what_is_remembered_is_bounded() -> None:
    handovers = Handovers()
    for number in range(MAX_LEFT + 10):
        who = nbma(1), f"spoke{number}"
        handovers.arrived(who, tunnel(2), 0.0)
        handovers.left(who, tunnel(2), 1.0)
    assert len(handovers._left) == MAX_LEFT
    assert len(handovers._at) == 0
    assert handovers.left((nbma(1), "stranger"), tunnel(2), 1.0) is None
