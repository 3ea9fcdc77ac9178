"""Misfortunes in any order: no step breaks an invariant, and fair weather mends everything."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nhrpd_py.core.events import CommandGiven
from nhrpd_py.core.queries import Flush, FlushWhat
from tests.support.clouds import add_hub, add_spoke
from tests.support.network import Weather
from tests.support.sites import HUB, SPOKE_1, SPOKE_2
from tests.support.transcript import Dialogue

HOLDING_TIME_S = 60
MAX_RETRY_S = 64.0
NAMES = ("hub", "spoke-1", "spoke-2")
VERBS = ("talk", "wait", "loss", "crash", "reboot", "down", "replace", "flush")

steps = st.tuples(st.sampled_from(VERBS), st.sampled_from(NAMES), st.sampled_from((0.005, 1, 25)))


def a_cloud(seed: int) -> Dialogue:
    dialogue = Dialogue(seed=seed)
    add_hub(dialogue, SPOKE_1, SPOKE_2, holding_time_s=HOLDING_TIME_S)
    add_spoke(dialogue, "spoke-1", SPOKE_1, holding_time_s=HOLDING_TIME_S)
    add_spoke(dialogue, "spoke-2", SPOKE_2, holding_time_s=HOLDING_TIME_S)
    return dialogue


def befall(dialogue: Dialogue, verb: str, name: str, seconds: float) -> None:
    match verb:
        case "talk":
            one, other = ("spoke-1", "spoke-2") if name == "spoke-1" else ("spoke-2", "spoke-1")
            dialogue.talk(one, other)
        case "loss":
            dialogue.weather = Weather(loss=0.0 if dialogue.weather.loss else 0.3)
        case "crash":
            dialogue.kill(name)
            dialogue.run(seconds)
            dialogue.boot(name)
        case "reboot":
            dialogue.kill(name)
            dialogue.run(seconds)
            dialogue.reboot(name)
        case "down":
            dialogue.tunnel_down(name)
            dialogue.run(seconds)
            dialogue.tunnel_up(name)
        case "replace":
            dialogue.replace_tunnel(name)
        case "flush":
            dialogue.give(name, CommandGiven(1, Flush(what=FlushWhat.ALL)))
        case _:
            pass
    dialogue.run(seconds)


@settings(max_examples=60)
@given(st.lists(steps, max_size=20), st.integers(0, 5))
def test_whatever_befalls_the_cloud_it_works_again(
    script: list[tuple[str, str, float]], seed: int
) -> None:
    dialogue = a_cloud(seed)
    for step in script:
        befall(dialogue, *step)
    dialogue.weather = Weather()
    dialogue.run(HOLDING_TIME_S / 3 + MAX_RETRY_S + 1.0)
    hub = dialogue.stations["hub"]
    for name in ("spoke-1", "spoke-2"):
        station = dialogue.stations[name]
        assert station.servers_up == [HUB.nbma]
        assert hub.nbma_of(station.site.tunnel) == station.outside
    # What was asked in vain is left alone for a minute, what was refused for three.
    dialogue.run(185.0)
    dialogue.talk("spoke-1", "spoke-2")
    dialogue.run(1.0)
    assert dialogue.talk("spoke-1", "spoke-2") == ["spoke-1", "spoke-2"]
