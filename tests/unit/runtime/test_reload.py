"""The file read again: refused whole, or applied with an account of what changed."""

from dataclasses import replace
from functools import partial

import pytest
import trio

from nhrpd_py.config.load import load
from nhrpd_py.core.config import Config
from nhrpd_py.runtime.reload import Reloader, ReloadOutcome, describe

FILE = """
[interface.gre1]
network-id = 1
holding-time = 60
[[interface.gre1.nhs]]
protocol = "dynamic"
nbma = "192.0.2.1"
"""
SERVER = '[[interface.gre1.nhs]]\nprotocol = "dynamic"\nnbma = "192.0.2.2"\n'


class Applied:
    def __init__(self) -> None:
        self.configs: list = []
        self.busy = 0

    async def __call__(self, config) -> None:
        self.busy += 1
        assert self.busy == 1
        await trio.sleep(0.01)
        self.busy -= 1
        self.configs.append(config)


async def no_faults(_config: Config) -> list[str]:
    return []


@pytest.fixture
def applied() -> Applied:
    return Applied()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nhrpd.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def reloader(file, applied) -> Reloader:
    return Reloader(partial(load, file), load(file), applied, no_faults)


async def test_the_same_file_is_not_even_applied(reloader, applied):
    assert await reloader.reload() == ReloadOutcome()
    assert applied.configs == []


async def test_what_changed_is_told(reloader, file, applied):
    file.write_text(FILE.replace("= 60", '= 90\nauthentication = "secret"') + SERVER)
    outcome = await reloader.reload()
    assert outcome.changes == ("interface gre1: holding-time, authentication, 1 server added",)
    assert applied.configs == [reloader.config]
    assert reloader.config.interfaces["gre1"].holding_time_s == 90


async def test_a_file_with_mistakes_is_refused_with_all_of_them(reloader, file, applied):
    before = reloader.config
    file.write_text('[interface.gre1]\nnetwork-id = "one"\nholding-time = 0\n')
    outcome = await reloader.reload()
    assert [line.split(": ")[:2] for line in outcome.problems] == [
        [str(file), "interface.gre1.network-id"],
        [str(file), "interface.gre1.holding-time"],
    ]
    assert (applied.configs, reloader.config) == ([], before)
    file.unlink()
    assert (await reloader.reload()).problems == (f"{file}: No such file or directory",)


async def test_a_file_that_cannot_be_read_for_any_reason_is_refused(file, applied):
    """A reload by SIGHUP has nobody to catch what it raises: the daemon would end."""

    def read():
        raise ValueError("a fault of ours")

    reloader = Reloader(read, load(file), applied, no_faults)
    outcome = await reloader.reload()
    assert outcome.problems == ("reading it failed: ValueError: a fault of ours",)
    assert applied.configs == []

    async def look(_config):
        raise ValueError("a fault of ours")

    reloader = Reloader(lambda: load(file), Config(), applied, look)
    assert (await reloader.reload()).problems == outcome.problems
    assert (applied.configs, reloader.config) == ([], Config())


async def test_what_other_files_lack_refuses_the_whole_file(file, applied):
    asked = []

    async def faults_of(config: Config) -> list[str]:
        asked.append(config)
        return ["interface.gre1.ipsec.profile: no such connection"]

    reloader = Reloader(partial(load, file), load(file), applied, faults_of)
    assert await reloader.reload() == ReloadOutcome()  # nothing is asked of what is in force
    file.write_text(FILE.replace("= 60", "= 90"))
    before = reloader.config
    outcome = await reloader.reload()
    assert outcome.problems == ("interface.gre1.ipsec.profile: no such connection",)
    assert applied.configs == []
    assert reloader.config is before
    assert [each.interfaces["gre1"].holding_time_s for each in asked] == [90]


async def test_what_needs_a_restart_is_named_and_the_rest_applied(reloader, file, applied):
    daemon = '[daemon]\nstate-directory = "/elsewhere"\nlog-level = "debug"\n[routes]\nmetric = 7\n'
    file.write_text(daemon + FILE)
    outcome = await reloader.reload()
    assert outcome.restart == ("daemon.state-directory", "routes.metric")
    assert outcome.changes == ("daemon: log-level",)
    assert applied.configs[0].daemon.log_level == "debug"
    assert applied.configs[0].routes.metric == 10


async def test_reloads_take_turns(reloader, file, applied):
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            file.write_text(FILE + SERVER)
            nursery.start_soon(reloader.reload)
    assert len(applied.configs) == 1


def test_interfaces_and_profiles_that_come_and_go_are_told(file):
    old = load(file)
    new = replace(old, interfaces={"gre2": replace(old.interfaces["gre1"], name="gre2")})
    assert list(describe(old, new)) == ["interface gre1: removed", "interface gre2: added"]
