"""What one run leaves for the next."""

import json
import os
import stat
import time

import pytest
import structlog
import trio

from nhrpd_py.core.events import BindingFound
from nhrpd_py.core.state import SavedBinding, SavedState
from nhrpd_py.runtime.state_file import StateFile

PEER = bytes([10, 0, 0, 1])
OTHER = bytes([10, 0, 0, 2])
NBMA = bytes([192, 0, 2, 1])
INSIDE = bytes([192, 168, 0, 1])


def a_binding(protocol: bytes = PEER, remaining_s: float = 600.0) -> SavedBinding:
    return SavedBinding(
        interface="gre1",
        protocol=protocol,
        nbma=NBMA,
        claimed_nbma=INSIDE,
        unique=True,
        remaining_s=remaining_s,
    )


def a_document(**change: object) -> str:
    binding = {
        "interface": "gre1",
        "protocol": "10.0.0.1",
        "nbma": "192.0.2.1",
        "claimed_nbma": None,
        "unique": False,
        "expires_at": 1500.0,
    }
    document = {"version": 1, "saved_at": 900, "bindings": [binding | change]}
    return json.dumps(document)


DAMAGES: tuple[dict[str, object], ...] = (
    {"expires_at": float("inf")},
    {"expires_at": float("nan")},
    {"expires_at": 1e12},
    {"protocol": 7},
    {"nbma": "192.0.2"},
)


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def a_successor(directory, now: float) -> StateFile:
    state = StateFile(str(directory), Clock(now))
    state.read()
    return state


async def test_settings_are_kept_beside_the_bindings(tmp_path):
    first = StateFile(str(tmp_path), Clock(1000.0))
    await first.save(SavedState(bindings=(a_binding(),)))
    first.settings["gre1"] = {"ifindex": 5, "noarp": True}
    await first.save_settings()
    second = StateFile(str(tmp_path), Clock(1010.0))
    second.read()
    assert second.settings == {"gre1": {"ifindex": 5, "noarp": True}}
    (found,) = second.recall(5, "gre1")
    assert found.remaining_s == 590.0
    # Those that the engine has taken and not told yet are not lost either.
    second.settings.clear()
    await second.save_settings()
    third = StateFile(str(tmp_path), Clock(1010.0))
    third.read()
    assert third.settings == {}
    assert len(third.recall(5, "gre1")) == 1


@pytest.mark.parametrize("settings", [None, [], [1], "x", {"gre1": 5}])
def test_damaged_settings_cost_the_file_at_most(tmp_path, settings):
    (tmp_path / "state.json").write_text(a_document(settings=settings))
    state = StateFile(str(tmp_path), Clock(1000.0))
    state.read()
    assert state.settings == {}


async def test_a_binding_comes_back_with_the_time_that_it_still_has(tmp_path) -> None:
    await StateFile(str(tmp_path), Clock(1000.0)).save(SavedState(bindings=(a_binding(),)))
    state = a_successor(tmp_path, 1400.0)
    assert state.recall(42, "gre1") == [
        BindingFound(42, PEER, NBMA, remaining_s=200.0, unique=True, claimed_nbma=INSIDE)
    ]
    assert state.recall(42, "gre1") == []


async def test_a_binding_whose_time_is_over_does_not_come_back(tmp_path) -> None:
    state = SavedState(bindings=(a_binding(remaining_s=10.0), a_binding(OTHER)))
    await StateFile(str(tmp_path), Clock(1000.0)).save(state)
    found = a_successor(tmp_path, 1011.0).recall(42, "gre1")
    assert [binding.protocol for binding in found] == [OTHER]


async def test_the_time_goes_on_while_the_interface_is_missing(tmp_path) -> None:
    await StateFile(str(tmp_path), Clock(1000.0)).save(SavedState(bindings=(a_binding(),)))
    clock = Clock(1100.0)
    state = StateFile(str(tmp_path), clock)
    state.read()
    clock.now = 1590.0
    assert state.recall(42, "gre1")[0].remaining_s == pytest.approx(10.0)
    assert state.recall(42, "gre2") == []


async def test_a_clock_set_back_does_not_prolong_a_registration(tmp_path) -> None:
    await StateFile(str(tmp_path), Clock(1e9)).save(SavedState(bindings=(a_binding(),)))
    assert a_successor(tmp_path, 1000.0).recall(42, "gre1")[0].remaining_s == 600.0


async def test_bindings_of_an_interface_that_never_appeared_are_kept(tmp_path) -> None:
    await StateFile(str(tmp_path), Clock(1000.0)).save(SavedState(bindings=(a_binding(),)))
    second = a_successor(tmp_path, 1100.0)
    await second.save(SavedState(bindings=()))
    assert len(a_successor(tmp_path, 1200.0).recall(42, "gre1")) == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 99}',
        '{"version": 1, "saved_at": 1, "bindings": [{}]}',
        '{"version": 1, "saved_at": 1, "bindings": 7}',
        "[" * 100_000,
        *(a_document(**change) for change in DAMAGES),
    ],
)
def test_a_damaged_file_is_a_warning(tmp_path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with structlog.testing.capture_logs() as lines:
        state = a_successor(tmp_path, 1000.0)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("state.unreadable", "warning")
    ]
    assert state.recall(1, "gre1") == []


@pytest.mark.parametrize("request_id", [7, "x", None])
def test_the_request_id_of_an_older_file_is_passed_over(tmp_path, request_id) -> None:
    document = json.loads(a_document()) | {"request_id": request_id}
    (tmp_path / "state.json").write_text(json.dumps(document))
    with structlog.testing.capture_logs() as lines:
        state = a_successor(tmp_path, 1000.0)
    assert [line["event"] for line in lines] == ["state.read"]
    assert len(state.recall(42, "gre1")) == 1


async def test_no_request_id_is_saved(tmp_path) -> None:
    await StateFile(str(tmp_path), Clock(1000.0)).save(SavedState(bindings=(a_binding(),)))
    document = json.loads((tmp_path / "state.json").read_text())
    assert sorted(document) == ["bindings", "saved_at", "settings", "version"]


async def test_the_file_is_readable_by_its_owner_only_and_json(tmp_path) -> None:
    directory = tmp_path / "made" / "here"
    await StateFile(str(directory), Clock(1000.0)).save(
        SavedState(bindings=(a_binding(), a_binding(OTHER)))
    )
    path = directory / "state.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = json.loads(path.read_text())
    assert [entry["protocol"] for entry in document["bindings"]] == ["10.0.0.1", "10.0.0.2"]
    assert list(directory.iterdir()) == [path]


async def test_a_directory_that_cannot_be_written_is_one_warning(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    state = StateFile(str(tmp_path / "file"), Clock(1000.0))
    with structlog.testing.capture_logs() as lines:
        await state.save(SavedState(bindings=()))
        await state.save(SavedState(bindings=()))
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("state.unwritable", "warning")
    ]


async def test_nothing_new_is_not_written_again(tmp_path) -> None:
    clock = Clock(1000.0)
    state = StateFile(str(tmp_path), clock)
    await state.save(SavedState(bindings=(a_binding(remaining_s=600.0),)))
    (tmp_path / "state.json").unlink()
    clock.now = 1060.0
    await state.save(SavedState(bindings=(a_binding(remaining_s=540.0),)))
    assert not (tmp_path / "state.json").exists()
    await state.save(SavedState(bindings=(a_binding(remaining_s=600.0),)))
    assert (tmp_path / "state.json").exists()


async def test_it_is_saved_again_and_again(tmp_path) -> None:
    taken = []

    def snapshot() -> SavedState:
        taken.append(trio.current_time())
        return SavedState(bindings=(a_binding(remaining_s=100.0 * len(taken)),))

    state = StateFile(str(tmp_path), Clock(1000.0))
    async with trio.open_nursery() as nursery:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("nhrpd_py.runtime.state_file.SAVE_INTERVAL_S", 0.02)
            nursery.start_soon(state.run, snapshot)
            await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
    assert len(taken) >= 2
    assert len(json.loads((tmp_path / "state.json").read_text())["bindings"]) == 1


def test_a_fifo_in_place_of_the_file_does_not_hold_the_start_up(tmp_path) -> None:
    os.mkfifo(tmp_path / "state.json")
    with structlog.testing.capture_logs() as lines:
        a_successor(tmp_path, 1000.0)
    assert [line["event"] for line in lines] == ["state.unreadable"]


async def test_a_link_in_the_state_directory_is_not_written_through(tmp_path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "state.new").symlink_to(victim)
    await StateFile(str(tmp_path)).save(SavedState(bindings=()))
    assert victim.read_text() == "precious"
    assert json.loads((tmp_path / "state.json").read_text())["bindings"] == []


async def test_two_snapshots_at_a_time_are_written_one_after_the_other(
    tmp_path, monkeypatch
) -> None:
    state = StateFile(str(tmp_path))
    write = state._write
    at_once = 0

    def slowly(*arguments) -> None:
        nonlocal at_once
        at_once += 1
        assert at_once == 1
        time.sleep(0.05)
        write(*arguments)
        at_once -= 1

    monkeypatch.setattr(state, "_write", slowly)
    async with trio.open_nursery() as nursery:
        for bindings in ((), (a_binding(),)):
            nursery.start_soon(state.save, SavedState(bindings=bindings))
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert len(json.loads((tmp_path / "state.json").read_text())["bindings"]) == 1
