"""What the service manager hears from us."""

import os
import socket
import time

import pytest
import structlog

from nhrpd_py.core.rows import InterfaceRow, NhsRow
from nhrpd_py.runtime.systemd import Notifier, status_text


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        said = []
        while True:
            try:
                said.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return said


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    address = str(tmp_path / "notify") if request.param == "path" else f"@nhrpd-{os.getpid()}"
    manager = Manager(address)
    yield manager
    manager.socket.close()


def server(state: str) -> NhsRow:
    return NhsRow(
        interface="gre1",
        afi="ipv4",
        name="hub",
        nbma=None,
        protocol=None,
        priority=0,
        cluster=0,
        state=state,
        registered_for_s=None,
        next_attempt_in_s=None,
        last_error=None,
        requests_sent=0,
        replies_received=0,
    )


def interface(name: str, problem: str | None) -> InterfaceRow:
    return InterfaceRow(
        interface=name,
        ifindex=None,
        up=problem is None,
        nbma=None,
        underlay=None,
        key=None,
        mtu=None,
        network_id=1,
        addresses=(),
        redirect=False,
        shortcut=False,
        holding_time_s=600,
        source_filter=None,
        wrong_sources=0,
        multicast=(),
        multicast_targets=0,
        multicast_packets=0,
        multicast_copies=0,
        problem=problem,
        losing=None,
        sa_bytes_in=0,
        sa_bytes_out=0,
    )


def test_a_life_with_a_reload_in_it(manager) -> None:
    notifier = Notifier(manager.address)
    notifier.ready("0/2 NHS up, 0 peers")
    notifier.status("2/2 NHS up, 2 peers")
    before_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    notifier.ready("2/2 NHS up, 2 peers")
    notifier.stopping("withdrawing")
    notifier.close()
    ready, status, reloading, again, stopping = manager.heard()
    assert ready == "READY=1\nSTATUS=0/2 NHS up, 0 peers"
    assert status == "STATUS=2/2 NHS up, 2 peers"
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert 0 <= int(reloading.rpartition("=")[2]) - before_usec < 1_000_000
    assert again == "READY=1\nSTATUS=2/2 NHS up, 2 peers"
    assert stopping == "STOPPING=1\nSTATUS=withdrawing"


def test_an_unchanged_status_is_told_once_and_is_one_line(manager) -> None:
    notifier = Notifier(manager.address)
    for _ in range(3):
        notifier.status("gre1:\nREADY=1")
    notifier.close()
    assert manager.heard() == ["STATUS=gre1: READY=1"]


def test_the_watchdog_hears_of_turns_three_times_in_its_span_at_most(manager) -> None:
    notifier = Notifier(manager.address, watchdog_s=30.0)
    assert notifier.beat_interval_s == 10.0
    for turn in range(26):
        notifier.beat(100.0 + turn)
    notifier.close()
    assert manager.heard() == ["WATCHDOG=1"] * 3


def test_a_beat_that_nobody_took_is_tried_again_at_the_next_turn(tmp_path) -> None:
    address = str(tmp_path / "notify")
    with structlog.testing.capture_logs() as lines:
        notifier = Notifier(address, watchdog_s=30.0)
        notifier.beat(100.0)
        notifier.beat(101.0)
    assert [line["event"] for line in lines] == ["systemd.unreachable"]
    manager = Manager(address)
    notifier.beat(102.0)
    notifier.close()
    assert manager.heard() == ["WATCHDOG=1"]
    manager.socket.close()


def test_the_environment_is_read_once_and_kept_from_children(tmp_path) -> None:
    environment = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "6000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    notifier = Notifier.of_environment(environment)
    assert notifier.listened_to
    assert notifier.beat_interval_s == 2.0
    assert environment == {"HOME": "/"}
    notifier.close()


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
    ],
)
def test_who_is_not_watched_does_not_beat(manager, watchdog) -> None:
    notifier = Notifier.of_environment({"NOTIFY_SOCKET": manager.address, **watchdog})
    notifier.beat(100.0)
    notifier.close()
    assert notifier.beat_interval_s is None
    assert manager.heard() == []


def test_without_a_service_manager_nothing_is_said() -> None:
    notifier = Notifier.of_environment({})
    assert not notifier.listened_to
    notifier.ready("14 peers")
    notifier.beat(0.0)
    notifier.close()


def test_a_socket_of_a_family_that_we_do_not_speak_is_told_and_left_alone() -> None:
    with structlog.testing.capture_logs() as lines:
        notifier = Notifier.of_environment({"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "1"})
    assert not notifier.listened_to
    assert notifier.beat_interval_s is None
    assert lines[0]["socket"] == "vsock:2:1"


@pytest.mark.parametrize(
    ("servers", "interfaces", "peers", "problems", "text"),
    [
        (["up", "up"], [None], 14, {}, "2/2 NHS up, 14 peers"),
        ([], [None], 1, {}, "1 peer"),
        (["up", "probe"], [None, "is down"], 0, {}, "1/2 NHS up, 0 peers; gre2: is down"),
        ([], [None], 2, {"nflog": "no redirects: taken"}, "2 peers; no redirects: taken"),
        (
            [],
            ["a", "b", "c", "d"],
            0,
            {"nflog": "n"},
            "0 peers; gre1: a; gre2: b; gre3: c; and 2 more problems",
        ),
    ],
)
def test_the_status_is_a_sentence(servers, interfaces, peers, problems, text) -> None:
    found = status_text(
        [server(state) for state in servers],
        [interface(f"gre{number}", problem) for number, problem in enumerate(interfaces, 1)],
        peers,
        problems,
    )
    assert found == text
