"""What is wrong with IPsec gives one clear line, keeps everything else running, and recovers when it is mended."""

from collections.abc import Callable

import pytest

from tests.lab.clouds import cloud, peer, server_state
from tools.lab.charon import Ipsec
from tools.lab.classic import ClassicNode
from tools.lab.namespace import wait_until
from tools.lab.nodes import NhrpdNode
from tools.lab.pki import authority


def complaint(spoke: ClassicNode, hub: ClassicNode) -> str:
    shown = peer(spoke, hub)
    return str(shown["last_error"]) if shown is not None else ""


def wait_complaint(spoke: ClassicNode, hub: ClassicNode, words: str) -> None:
    wait_until(lambda: words in complaint(spoke, hub), 40.0, f"{words!r} in show peers")
    lines = [line for line in spoke.log_path.read_text().splitlines() if words in line]
    assert 1 <= len(lines) <= 3, lines


def wait_up(spoke: ClassicNode) -> None:
    wait_until(lambda: server_state(spoke) == "up", 90.0, "registered once it is mended")


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (Ipsec(expired=True), "AUTHENTICATION_FAILED"),  # the hub's word: it does not say why
        (Ipsec(authority=authority("another CA")), "AUTHENTICATION_FAILED"),
    ],
    ids=["expired", "another CA"],
)
def test_a_peer_that_does_not_fit_is_named_and_the_rest_runs(theirs: Ipsec, words: str) -> None:
    with cloud({}, {"ipsec": theirs}, {}, bgp=False) as (_, nodes):
        hub, bad, good = nodes
        wait_up(good)
        wait_complaint(bad, hub, words)
        assert server_state(bad) != "up"
        assert hub.binding(bad.tunnel) is None


def spoil_and_mend(
    spoil: Callable[[ClassicNode], None], mend: Callable[[ClassicNode], None], words: str
) -> None:
    with cloud({}, {}, start=False, bgp=False) as (_, nodes):
        hub, spoke = nodes
        hub.start()
        spoke.start_services()
        spoil(spoke)
        spoke.start()
        wait_complaint(spoke, hub, words)
        mend(spoke)
        wait_up(spoke)


def test_a_syntax_error_in_swanctl_conf() -> None:
    kept: list[str] = []

    def spoil(spoke: ClassicNode) -> None:
        kept.append(spoke.charon.swanctl_conf.read_text())
        spoke.charon.swanctl_conf.write_text(kept[0] + "\n}}} nonsense {\n")

    spoil_and_mend(
        spoil, lambda spoke: void(spoke.charon.swanctl_conf.write_text(kept[0])), "swanctl.conf"
    )


def test_a_profile_that_does_not_exist() -> None:
    kept: list[str] = []

    def spoil(spoke: ClassicNode) -> None:
        kept.append(spoke.charon.swanctl_conf.read_text())
        spoke.charon.swanctl_conf.write_text(kept[0].replace("    dmvpn {\n", "    other {\n", 1))

    spoil_and_mend(
        spoil,
        lambda spoke: void(spoke.charon.swanctl_conf.write_text(kept[0])),
        "profile dmvpn: no such connection",
    )


def test_a_missing_certificate() -> None:
    def move(spoke: ClassicNode, old: str, new: str) -> None:
        folder = spoke.charon.etc / "x509"
        for each in folder.glob(f"*{old}"):
            each.rename(folder / (each.name.removesuffix(old) + new))

    spoil_and_mend(
        lambda spoke: move(spoke, ".pem", ".away"),
        lambda spoke: move(spoke, ".away", ".pem"),
        ".pem",
    )


def test_charon_that_comes_late() -> None:
    with cloud({}, {}, start=False, bgp=False) as (_, nodes):
        hub, spoke = nodes
        hub.start()
        spoke.start_services()
        spoke.charon.stop()
        NhrpdNode.start(spoke)
        wait_until(
            lambda: "charon" in str(spoke.show("interfaces")[0]["problem"]),
            20.0,
            "show interfaces says that charon is away",
        )
        spoke.charon.start()
        wait_up(spoke)


def test_a_peer_in_tunnel_mode_is_refused_by_name() -> None:
    tunnel = Ipsec(changes=(("mode = transport", "mode = tunnel"),))
    with cloud({"ipsec": tunnel}, {}, bgp=False) as (_, nodes):
        hub, spoke = nodes
        wait_complaint(spoke, hub, "tunnel mode")
        assert server_state(spoke) != "up"


def test_a_fallback_profile_serves_while_the_first_cannot() -> None:
    """The hub takes nothing of the first; where that is mended, it is the one of the next SA."""
    settings = 'fallback-profile = "dmvpn-old"\n'
    good = "    proposals = aes256-sha512-ecp384"
    with cloud({}, {"ipsec_settings": settings}, start=False, bgp=False) as (_, nodes):
        hub, spoke = nodes
        hub.start()
        spoke.start_services()
        text = spoke.charon.swanctl_conf.read_text()
        second = text.replace("    dmvpn {\n", "    dmvpn-old {\n", 1)
        second = second.replace("reauth_time = 13h", "reauth_time = 11h")
        spoilt = text.replace(good, "    proposals = aes128-sha256-ecp256", 1)
        spoke.charon.swanctl_conf.write_text(spoilt + second)
        spoke.start()
        wait_up(spoke)
        (ike,) = spoke.charon.ike_sas()
        assert int(ike["reauth-time"]) < 12 * 3600
        said = spoke.log_path.read_text()
        assert "NO_PROPOSAL_CHOSEN" in said

        spoke.charon.swanctl_conf.write_text(text + second)
        spoke.charon.request("terminate", {"ike-id": ike["uniqueid"], "force": "yes"})

        def by_the_first() -> bool:
            lifetimes = [int(each.get("reauth-time", 0)) for each in spoke.charon.ike_sas()]
            return lifetimes != [] and all(each > 11.5 * 3600 for each in lifetimes)

        wait_until(by_the_first, 60.0, "an SA by the first profile")
        wait_up(spoke)


def void(_value: object) -> None:
    pass
