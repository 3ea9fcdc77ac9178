"""What is wrong with IPsec gives one clear line, keeps everything else running, and recovers when it is mended.

One hub has a spoke for each mistake, and one without any. They make their mistakes at the same time,
and are mended at the same time.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lab.clouds import cloud, peer, server_state
from tools.lab.charon import Ipsec
from tools.lab.classic import ClassicNode
from tools.lab.machine import Role
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode
from tools.lab.pki import authority

pytestmark = pytest.mark.timeout(400)

COMPLAINT_S = 40.0
MENDED_S = 90.0
PROPOSALS = "    proposals = aes256-sha512-ecp384"

STRANGERS = {
    "expired": Ipsec(expired=True),
    "another CA": Ipsec(authority=authority("another CA")),
}
"""Spokes that the hub refuses; it does not say why."""


def write_syntax_error(spoke: ClassicNode) -> None:
    text = spoke.charon.swanctl_conf.read_text()
    spoke.charon.swanctl_conf.write_text(text + "\n}}} nonsense {\n")


def rename_profile(spoke: ClassicNode) -> None:
    text = spoke.charon.swanctl_conf.read_text()
    assert "    dmvpn {\n" in text
    spoke.charon.swanctl_conf.write_text(text.replace("    dmvpn {\n", "    other {\n", 1))


def remove_certificate(spoke: ClassicNode) -> None:
    for each in (spoke.charon.etc / "x509").glob("*.pem"):
        each.unlink()


MISTAKES: dict[str, tuple[Callable[[ClassicNode], None], str]] = {
    "syntax error": (write_syntax_error, "swanctl.conf"),
    "no such profile": (rename_profile, "profile dmvpn: no such connection"),
    "missing certificate": (remove_certificate, ".pem"),
}
"""What a spoke's operator does, and the words that tell it."""


@dataclass
class Scene:
    hub: ClassicNode
    good: ClassicNode
    without_charon: ClassicNode
    with_fallback: ClassicNode
    tunnel_mode: tuple[ClassicNode, ClassicNode]
    """A hub with that, and its own spoke."""
    bad: dict[str, ClassicNode]
    complaints: dict[str, list[str]] = field(default_factory=dict)
    """The lines of a bad spoke's log about its mistake, when `show peers` first told of it."""
    mended: set[str] = field(default_factory=set)
    """Bad spokes that were registered after their mistake was taken back."""

    def watch_complaints(self, words: dict[str, str]) -> None:
        def all_complain() -> bool:
            for name, spoke in self.bad.items():
                if name not in self.complaints and words[name] in complaint(spoke, self.hub):
                    self.complaints[name] = spoke.logged(words[name])
            return self.complaints.keys() == self.bad.keys()

        with suppress(AssertionError):  # each test looks for its own
            wait_until(all_complain, COMPLAINT_S, "complaints")

    def watch_recoveries(self) -> None:
        def all_up() -> bool:
            self.mended |= {name for name in MISTAKES if server_state(self.bad[name]) == "up"}
            return self.mended == MISTAKES.keys()

        with suppress(AssertionError):
            wait_until(all_up, MENDED_S, "registrations")


def complaint(spoke: ClassicNode, hub: ClassicNode) -> str:
    shown = peer(spoke, hub)
    return str(shown["last_error"]) if shown is not None else ""


def wait_up(spoke: ClassicNode) -> None:
    wait_until(lambda: server_state(spoke) == "up", MENDED_S, "registered")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    options: list[dict[str, Any]] = [
        *({} for _ in ("hub", "good", "without charon")),
        {"ipsec_settings": 'fallback-profile = "dmvpn-old"\n'},
        {"role": Role.HUB, "ipsec": Ipsec(changes=(("mode = transport", "mode = tunnel"),))},
        {"server": "hub5", "ipsec": Ipsec(remote_id="hub5.vpn.example")},
        *({"ipsec": ipsec} for ipsec in STRANGERS.values()),
        *({} for _ in MISTAKES),
    ]
    with cloud(*options, start=False, bgp=False) as (_, nodes):
        hub, good, without_charon, with_fallback, tunnel_hub, its_spoke, *bad = nodes
        by_name = dict(zip([*STRANGERS, *MISTAKES], bad, strict=True))
        made = Scene(hub, good, without_charon, with_fallback, (tunnel_hub, its_spoke), by_name)
        for node in nodes:
            node.start_services()
        for name, (make_mistake, _) in MISTAKES.items():
            make_mistake(made.bad[name])
        hub.start()
        for spoke in (good, *bad):
            spoke.start()
        words = dict.fromkeys(STRANGERS, "AUTHENTICATION_FAILED")
        made.watch_complaints(words | {name: said for name, (_, said) in MISTAKES.items()})
        for name in MISTAKES:
            made.bad[name].charon.write_files()
        made.watch_recoveries()
        yield made


def told_once(scene: Scene, name: str) -> bool:
    return 1 <= len(scene.complaints.get(name, [])) <= 3


@pytest.mark.parametrize("name", STRANGERS)
def test_a_peer_that_does_not_fit_is_named_and_the_rest_runs(scene: Scene, name: str) -> None:
    bad = scene.bad[name]
    wait_up(scene.good)
    assert told_once(scene, name), complaint(bad, scene.hub)
    assert server_state(bad) != "up"
    assert scene.hub.binding(bad.tunnel) is None


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_and_all_is_well_once_it_is_mended(scene: Scene, name: str) -> None:
    assert told_once(scene, name), complaint(scene.bad[name], scene.hub)
    assert name in scene.mended


def test_charon_that_comes_late(scene: Scene) -> None:
    spoke = scene.without_charon
    spoke.charon.stop()
    NhrpdNode.start(spoke)
    wait_until(
        lambda: "charon" in str(spoke.show("interfaces")[0]["problem"]),
        20.0,
        "show interfaces says that charon is away",
    )
    spoke.charon.start()
    wait_up(spoke)


def test_a_fallback_profile_serves_while_the_first_cannot(scene: Scene) -> None:
    """The hub takes nothing of the first; where that is mended, it is the one of the next SA."""
    spoke = scene.with_fallback
    text = spoke.charon.swanctl_conf.read_text()
    second = text.replace("    dmvpn {\n", "    dmvpn-old {\n", 1)
    second = second.replace("reauth_time = 13h", "reauth_time = 11h")
    spoilt = text.replace(PROPOSALS, "    proposals = aes128-sha256-ecp256", 1)
    spoke.charon.swanctl_conf.write_text(spoilt + second)
    spoke.start()
    wait_up(spoke)
    (ike,) = spoke.charon.ike_sas()
    assert int(ike["reauth-time"]) < 12 * 3600
    assert spoke.logged("NO_PROPOSAL_CHOSEN")

    spoke.charon.swanctl_conf.write_text(text + second)
    ended: set[str] = set()

    def by_the_first() -> bool:
        """Ends what the fallback made: it serves again where the first one had no answer in time."""
        found = spoke.charon.ike_sas()
        late = [each for each in found if int(each.get("reauth-time", 0)) < 12 * 3600]
        for each in late:
            if each["state"] == "ESTABLISHED" and each["uniqueid"] not in ended:
                ended.add(each["uniqueid"])
                spoke.charon.request("terminate", {"ike-id": each["uniqueid"], "force": "yes"})
        return found != [] and not late

    wait_until(by_the_first, 90.0, "an SA by the first profile")
    assert len(ended) <= 2, ended
    wait_up(spoke)


def test_a_peer_in_tunnel_mode_is_refused_by_name(scene: Scene) -> None:
    hub, spoke = scene.tunnel_mode
    hub.start()
    spoke.start()
    words = "tunnel mode"
    wait_until(lambda: words in complaint(spoke, hub), COMPLAINT_S, "show peers tells it")
    assert 1 <= len(spoke.logged(words)) <= 3
    assert server_state(spoke) != "up"
