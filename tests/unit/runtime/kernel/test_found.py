"""The settings of a link as they were found: noted before they are changed, given back at the end."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from nhrpd_py.core.effects import CloseInterface
from nhrpd_py.runtime.kernel.found import FoundSettings
from nhrpd_py.runtime.netlink import neighbor, rtnl
from nhrpd_py.runtime.netlink.requests import Requests
from nhrpd_py.runtime.netlink.socket import NetlinkError
from tests.unit.runtime.kernel.kernel_world import GRE, LAN, a_link, a_neighbor, a_route

CHANGES = (rtnl.RTM_SETLINK, rtnl.RTM_SETNEIGHTBL)
FOUND = {
    "ipv4/conf/gre1/send_redirects": 1,
    "ipv4/conf/all/send_redirects": 1,
    "ipv4/neigh/gre1/app_solicit": 0,
    "ipv4/neigh/gre1/ucast_solicit": 3,
    "ipv4/neigh/gre1/mcast_solicit": 2,
}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Settings of a kernel without IPv6, and its boot's id."""
    for name, value in FOUND.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    (tmp_path / "boot").write_text("a\n")
    return tmp_path


class Kept:
    """What the state file has, and how often it was written."""

    def __init__(self, machine: Path, known: dict[str, Any] | None = None) -> None:
        self.known: dict[str, Any] = known or {}
        self.saved: list[Any] = []
        self.found = FoundSettings(
            self.known, self.save, settings=machine, boot_id=machine / "boot"
        )

    async def save(self) -> None:
        self.saved.append(json.loads(json.dumps(self.known)))


class Asked(Requests):
    """A kernel that is asked to change settings."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes]] = []
        self.error: Exception | None = None

    async def ask(self, kind: int, flags: int, payload: bytes, what: str) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append((kind, payload))


ORIGINAL = [
    (rtnl.RTM_SETNEIGHTBL, rtnl.probes(2, GRE, 0, 3, 2)),
    (rtnl.RTM_SETLINK, rtnl.send_redirects(GRE, 1)),
    (rtnl.RTM_SETLINK, rtnl.set_noarp(GRE)),
]


async def test_what_was_found_is_saved_first_and_given_back_once(machine: Path) -> None:
    kept, kernel = Kept(machine), Asked()
    await kept.found.note("gre1", GRE, noarp=True)
    assert sorted(kept.saved[0]) == ["all", "gre1"]
    (machine / "ipv4/conf/all/send_redirects").write_text("0\n")  # as the daemon does
    (machine / "ipv4/conf/gre1/send_redirects").write_text("0\n")
    await kept.found.note("gre1", GRE, noarp=False)  # it was prepared again: these are ours
    assert len(kept.saved) == 1
    await kept.found.give_all_back(kernel)
    assert kernel.asked == ORIGINAL
    assert (machine / "ipv4/conf/all/send_redirects").read_text() == "1\n"
    assert kept.saved[-1] == {}
    await kept.found.give_all_back(kernel)
    assert len(kernel.asked) == len(ORIGINAL)


async def test_a_run_that_crashed_is_made_good_for_by_the_next(machine: Path) -> None:
    first, kernel = Kept(machine), Asked()
    await first.found.note("gre1", GRE, noarp=True)
    (machine / "ipv4/conf/gre1/send_redirects").write_text("0\n")
    second = Kept(machine, first.saved[-1])
    await second.found.note("gre1", GRE, noarp=False)
    await second.found.give_all_back(kernel)
    assert kernel.asked == ORIGINAL


@pytest.mark.parametrize("change", ["boot", "netdev"])
async def test_of_another_boot_or_netdev_nothing_is_believed(machine: Path, change: str) -> None:
    first, kernel = Kept(machine), Asked()
    await first.found.note("gre1", GRE, noarp=True)
    for name, value in (("send_redirects", 0),):
        (machine / f"ipv4/conf/gre1/{name}").write_text(f"{value}\n")
    if change == "boot":
        (machine / "boot").write_text("b\n")
    second = Kept(machine, first.saved[-1])
    ifindex = GRE if change == "boot" else 77
    await second.found.note("gre1", ifindex, noarp=False)
    await second.found.give_all_back(kernel)
    assert kernel.asked == [
        (rtnl.RTM_SETNEIGHTBL, rtnl.probes(2, ifindex, 0, 3, 2)),
        (rtnl.RTM_SETLINK, rtnl.send_redirects(ifindex, 0)),
    ]


async def test_links_that_were_renamed_get_their_own_back(machine: Path) -> None:
    kept, kernel = Kept(machine), Asked()
    await kept.found.note("gre1", GRE, noarp=True)
    await kept.found.note("gre2", GRE + 1, noarp=False)
    saves = len(kept.saved)
    await kept.found.note("gre1", GRE + 1, noarp=False)
    await kept.found.note("gre2", GRE, noarp=False)  # it was prepared already
    await kept.found.note("gre3", GRE, noarp=False)
    assert {name: each.get("noarp") for name, each in kept.known.items()} == {
        "all": None,
        "gre1": False,
        "gre3": True,
    }
    assert kept.saved[-1] == kept.known
    assert len(kept.saved) > saves
    await kept.found.give_back(kernel, "gre3")
    assert kernel.asked == ORIGINAL


async def test_all_gets_its_own_back_with_the_last_tunnel(machine: Path) -> None:
    kept, kernel = Kept(machine), Asked()
    await kept.found.note("gre1", GRE, noarp=True)
    await kept.found.note("gre2", 6, noarp=True)
    of_all = machine / "ipv4/conf/all/send_redirects"
    of_all.write_text("0\n")
    await kept.found.give_back(kernel, "gre1")
    assert of_all.read_text() == "0\n"
    await kept.found.give_back(kernel, "gre2")
    assert of_all.read_text() == "1\n"


async def test_a_link_that_is_gone_is_no_harm_and_a_refusal_is_counted(machine: Path) -> None:
    for code, counted in ((errno.ENODEV, 0), (errno.EPERM, 3)):
        kept, kernel = Kept(machine), Asked()
        kernel.error = NetlinkError(code, "no")
        await kept.found.note("gre1", GRE, noarp=True)
        await kept.found.give_all_back(kernel)
        assert kept.found.counters["settings_kept"] == counted


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"ifindex": "x"},
        {"ifindex": GRE, "probes": 5, "send_redirects": True, "noarp": 1},
        {"ifindex": GRE, "probes": {"ipv4": [1, None, -1]}, "send_redirects": 1 << 40},
    ],
)
async def test_what_a_damaged_file_has_is_left_out(machine: Path, damaged: dict[str, Any]) -> None:
    kept, kernel = Kept(machine, {"gre1": {"boot": "a", **damaged}}), Asked()
    await kept.found.give_all_back(kernel)
    assert kernel.asked == []


@pytest.mark.parametrize("damaged", [[1], {"a": 1}, "1", True, -1, 1.5, None])
async def test_nor_does_a_damaged_setting_of_all_end_the_stop(machine: Path, damaged: Any) -> None:
    kept = Kept(machine, {"all": {"boot": "a", "send_redirects": damaged}})
    of_all = machine / "ipv4/conf/all/send_redirects"
    of_all.write_text("0\n")
    await kept.found.give_back(Asked(), "gre1")
    assert of_all.read_text() == "0\n"


async def test_the_store_gives_back_at_the_end_and_prepares_nothing_again(world) -> None:
    world.tell(rtnl.RTM_NEWLINK, a_link(noarp=True))
    await trio.testing.wait_all_tasks_blocked(0.05)
    await world.open()
    assert world.saves[0] == ["all", "gre1"]
    assert world.settings["gre1"]["noarp"] is True
    world.peer.requests.clear()
    await world.kernel.give_back()
    settings = [each for each in world.peer.requests if each in CHANGES]
    assert settings == [rtnl.RTM_SETLINK]
    world.peer.requests.clear()
    world.tell(rtnl.RTM_NEWLINK, a_link(noarp=True))
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert world.peer.requests == []
    assert world.settings == {}


async def test_what_an_earlier_run_left_goes_with_a_stop_that_comes_soon(world) -> None:
    world.peer.tables[neighbor.RTM_GETNEIGH] = [a_neighbor()]
    world.peer.tables[rtnl.RTM_GETROUTE] = [a_route(LAN)]
    await world.open()
    world.changes()
    await world.kernel.settle(1)
    await world.kernel.give_back()
    assert {kind for kind, _ in world.changes()} == {neighbor.RTM_DELNEIGH, rtnl.RTM_DELROUTE}


async def test_a_tunnel_that_leaves_the_configuration_gets_its_settings_back(world) -> None:
    await world.open()
    world.kernel.close_interface(CloseInterface(GRE, withdrawn=True))
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert "gre1" in world.settings  # it may be opened again
    world.kernel.close_interface(CloseInterface(GRE, withdrawn=True, final=True))  # or not
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert world.settings == {}
    await world.open()
    world.kernel.close_interface(CloseInterface(GRE, withdrawn=True, final=True))
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert world.settings == {}
