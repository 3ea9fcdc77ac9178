"""What the control API answers, over a real Unix socket."""

import json
import os
from dataclasses import asdict

import pytest
import trio

from nhrpd_py.core.address import Prefix
from nhrpd_py.core.effects import AnswerCommand
from nhrpd_py.core.queries import Flush, FlushWhat, Query, Resolve, View
from nhrpd_py.runtime.control import commands
from tests.unit.runtime.control.api_client import curl, fetch, refusal
from tests.unit.runtime.fake_daemon import a_daemon, an_interface_row, an_sa_row


@pytest.mark.parametrize("view", list(View))
async def test_each_view_is_an_object_with_its_rows(path, view) -> None:
    async with a_daemon(path) as daemon:
        document = await fetch(path, f"/v1/{view}")
        assert list(document) == [view.value]
        (row, *_) = document[view.value]
        assert list(row) == list(type(daemon.engine.rows[view][0]).__dataclass_fields__)


async def test_values_are_those_of_the_row_and_unknown_ones_null(path) -> None:
    async with a_daemon(path):
        (row,) = (await fetch(path, "/v1/cache"))["cache"]
        assert (row["expires_in_s"], row["nat"], row["identity"]) == (65.4, True, None)
        (row,) = (await fetch(path, "/v1/interfaces"))["interfaces"]
        assert row["addresses"] == ["10.0.0.7/24"]


async def test_an_empty_view_is_an_empty_list(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.rows[View.CACHE] = []
        assert await fetch(path, "/v1/cache") == {"cache": []}


async def test_an_interface_can_be_picked(path) -> None:
    async with a_daemon(path) as daemon:
        await fetch(path, "/v1/cache?interface=gre1")
        assert daemon.engine.queries[-1] == Query(view=View.CACHE, interface="gre1")


async def test_security_associations_are_those_of_the_interface_asked_for(path) -> None:
    async with a_daemon(path) as daemon:
        mine, other = an_sa_row(local_nbma="192.0.2.7"), an_sa_row(local_nbma="198.51.100.7")
        daemon.charon = [mine, other]
        assert (await fetch(path, "/v1/sas"))["sas"] == [asdict(mine), asdict(other)]
        assert (await fetch(path, "/v1/sas?interface=gre1"))["sas"] == [asdict(mine)]


async def test_what_does_not_exist_is_said_in_a_sentence(path) -> None:
    async with a_daemon(path):
        assert await refusal(path, "GET", "/v1/cash") == (404, "there is no view 'cash'")
        assert await refusal(path, "GET", "/v1/cache?interface=gre9") == (
            404,
            "no interface 'gre9' is configured",
        )


async def test_status_tells_version_problems_and_counters(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.problems["nflog"] = "group 1 is taken"
        status = await fetch(path, "/v1/status")
        assert (status["pid"], status["uptime_s"]) == (os.getpid(), 12.5)
        assert status["problems"] == {"nflog": "group 1 is taken"}
        assert status["counters"] == {"packets": {"received": 7}}


async def test_a_failing_nflog_shows_where_redirects_are_wanted(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.rows[View.INTERFACES] = [
            an_interface_row(),
            an_interface_row(interface="gre2", redirect=False),
            an_interface_row(interface="gre3", problem="no underlay"),
        ]
        daemon.problems["nflog"] = "group 1 is taken"
        rows = (await fetch(path, "/v1/interfaces"))["interfaces"]
        assert [row["problem"] for row in rows] == ["group 1 is taken", None, "no underlay"]


async def test_a_flush_reaches_the_engine_and_its_answer_comes_back(path) -> None:
    async with a_daemon(path) as daemon:
        order = {
            "what": "cache",
            "interface": "gre1",
            "protocol": "10.0.0.5/8",
            "nbma": "192.0.2.1",
        }
        status, body = await curl(path, "POST", "/v1/flush", json.dumps(order).encode())
        assert (status, json.loads(body)) == (
            200,
            {"matched": 3, "refused": None, "detail": "3 bindings forgotten"},
        )
        assert daemon.engine.commands == [
            Flush(
                what=FlushWhat.CACHE,
                interface="gre1",
                protocol=Prefix(bytes([10, 0, 0, 0]), 8),
                nbma=bytes([192, 0, 2, 1]),
            )
        ]


async def test_a_flush_without_a_body_means_everything(path) -> None:
    async with a_daemon(path) as daemon:
        assert (await curl(path, "POST", "/v1/flush"))[0] == 200
        assert daemon.engine.commands == [Flush(what=FlushWhat.ALL)]


async def test_commands_at_once_get_each_its_own_answer(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.answer = lambda token: AnswerCommand(
            token, 1, detail=repr(daemon.engine.commands[-1])
        )
        answers = {}

        async def ask(address: str) -> None:
            body = json.dumps({"address": address}).encode()
            answers[address] = json.loads((await curl(path, "POST", "/v1/resolve", body))[1])

        async with trio.open_nursery() as nursery:
            for last in range(1, 21):
                nursery.start_soon(ask, f"10.0.0.{last}")
        for last in range(1, 21):
            mine = Resolve(address=bytes([10, 0, 0, last]))
            assert answers[f"10.0.0.{last}"]["detail"] == repr(mine)
        assert len(daemon.engine.commands) == 20


@pytest.mark.parametrize(
    ("target", "body", "status", "words"),
    [
        ("/v1/flush", b"{", 400, "the body is not JSON"),
        ("/v1/flush", b"[]", 400, "the body must be a JSON object"),
        (
            "/v1/flush",
            {"wat": "x"},
            400,
            "unknown key 'wat'; known: interface, nbma, protocol, what",
        ),
        ("/v1/flush", {"what": "dust"}, 400, "'dust' is not a valid FlushWhat"),
        ("/v1/flush", {"what": 3}, 400, "what must be a string"),
        ("/v1/flush", {"protocol": "10/8/3"}, 400, "'10/8/3' does not appear to be an IPv4 or"),
        ("/v1/flush", {"nbma": "hub"}, 400, "'hub' does not appear to be an IPv4 or IPv6 address"),
        ("/v1/flush", {"interface": "gre9"}, 404, "no interface 'gre9' is configured"),
        ("/v1/flush", b" " * 20_000, 413, "a request has at most 16384 octets"),
        ("/v1/resolve", {}, 400, "address is missing"),
        ("/v1/flush", b"[" * 9000, 400, "the body is not JSON"),
        ("/v1/resolve", {"address": "x"}, 400, "'x' does not appear to be an IPv4 or IPv6 address"),
    ],
)
async def test_a_bad_command_is_refused_in_a_sentence(path, target, body, status, words) -> None:
    async with a_daemon(path) as daemon:
        got, error = await refusal(path, "POST", target, body)
        assert got == status
        assert words in error
        assert daemon.engine.commands == []


async def test_an_engine_that_does_not_answer_is_not_waited_for_for_ever(path, monkeypatch) -> None:
    monkeypatch.setattr(commands, "COMMAND_DEADLINE_S", 0.05)
    async with a_daemon(path) as daemon:
        daemon.engine.answer = lambda _token: None
        assert await refusal(path, "POST", "/v1/resolve", {"address": "10.0.0.1"}) == (
            504,
            "the daemon is too busy to answer",
        )
        assert daemon.engine.commands == [Resolve(address=bytes([10, 0, 0, 1]))]
