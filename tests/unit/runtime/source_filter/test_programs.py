"""What nft and iptables are given, and how what they print is read: programs that only note it take their place."""

import os

import pytest

from nhrpd_py.core.address import Prefix, parse_address, parse_prefix
from nhrpd_py.core.effects import AllowSources, ForgetMark
from nhrpd_py.runtime.source_filter import iptables, programs
from nhrpd_py.runtime.source_filter.iptables import Iptables, chain_name
from nhrpd_py.runtime.source_filter.nft import IN_A_STEP, Nft, table_name
from nhrpd_py.runtime.source_filter.table import FilterError, WantedTable
from tests.unit.runtime.source_filter.fake_programs import Programs

ANY4, ANY6 = map(parse_prefix, ("0.0.0.0/0", "::/0"))


def a_table(*, drop: bool = True) -> WantedTable:
    """Mark 1 may send from anywhere, mark 2 from a LAN and a host, mark 3 from nowhere; one address is awaited."""
    wanted = WantedTable("gre1")
    wanted.drop = drop
    wanted.allow(AllowSources("gre1", 1, (ANY4, ANY6)))
    wanted.allow(
        AllowSources(
            "gre1", 2, tuple(map(parse_prefix, ("172.16.2.0/24", "10.0.0.2", "2001:db8::/32")))
        )
    )
    wanted.allow(AllowSources("gre1", 3))
    wanted.allow(AllowSources("gre1", 0, (parse_prefix("172.16.9.9"),)))
    return wanted


# nft.


@pytest.mark.parametrize(
    ("drop", "last"), [(True, "counter drop"), (False, "counter meta mark set 0 accept")]
)
async def test_nft_makes_the_table_in_one_step(fakes: Programs, drop: bool, last: str) -> None:
    fakes.add("nft")
    await Nft().write(a_table(drop=drop))
    log = fakes.log()
    assert [line for line in log if line.startswith("nft")] == ["nft -f -"]
    assert log[1:4] == [
        "table inet nhrpd-gre1",
        "delete table inet nhrpd-gre1",
        "table inet nhrpd-gre1 {",
    ]
    rules = [line.strip() for line in log]
    assert 'iifname != "gre1" accept' in rules
    assert last in rules
    assert log[-6:] == [
        "add element inet nhrpd-gre1 any4 { 1 }",
        "add element inet nhrpd-gre1 any6 { 1 }",
        "add element inet nhrpd-gre1 v4 { 2 . 10.0.0.2/32, 2 . 172.16.2.0/24 }",
        "add element inet nhrpd-gre1 v6 { 2 . 2001:db8::/32 }",
        "add element inet nhrpd-gre1 awaited4 { 172.16.9.9/32 }",
        "add element inet nhrpd-gre1 known { 1, 2, 3 }",
    ]


async def test_nft_changes_elements_and_takes_old_ones_first(fakes: Programs) -> None:
    fakes.add("nft")
    wanted = a_table()
    wanted.written()
    wide = parse_prefix("172.16.0.0/16")
    wanted.allow(AllowSources("gre1", 2, (wide,), (parse_prefix("172.16.2.0/24"),)))
    wanted.forget(ForgetMark("gre1", 3))
    wanted.allow(AllowSources("gre1", 4))
    await Nft().change(wanted, wanted.written())
    assert fakes.log() == [
        "nft -f -",
        "delete element inet nhrpd-gre1 known { 3 }",
        "delete element inet nhrpd-gre1 v4 { 2 . 172.16.2.0/24 }",
        "add element inet nhrpd-gre1 v4 { 2 . 172.16.0.0/16 }",
        "add element inet nhrpd-gre1 known { 4 }",
    ]


@pytest.mark.parametrize("of_one_peer", [True, False])
async def test_nft_takes_large_tables_in_several_steps_and_marks_last(
    fakes: Programs, of_one_peer: bool
) -> None:
    fakes.add("nft")
    wanted = WantedTable("gre1")
    for number in range(1, 5001):
        source = Prefix(number.to_bytes(4), 32)
        wanted.allow(AllowSources("gre1", 1 if of_one_peer else number, (source,)))
    await Nft().write(wanted)
    steps = "\n".join(fakes.log()).split("nft -f -")[1:]
    assert len(steps) > 2
    assert max(map(len, steps)) <= IN_A_STEP + 1
    commands = [line for step in steps for line in step.splitlines() if line.startswith("add")]
    places = [command.split()[4] for command in commands]
    assert places == sorted(places, key="known".__eq__)


CHAIN = """\
prerouting> table inet nhrpd-gre1 {
prerouting> chain prerouting {
prerouting> iifname != "gre1" accept
prerouting> counter packets 12 bytes 1008 drop
prerouting> }
prerouting> }
wrong> elements = { 0x00000002 counter packets 8 bytes 252 expires 4m58s,
wrong> 0x0000000a timeout 5m expires 4m58s counter packets 4 bytes 252 }
wrong4> elements = { 0x00000002 . 172.16.3.99 counter packets 3 bytes 252 expires 4m58s,
wrong4> 0x0000000a . 10.0.0.9 timeout 5m expires 4m58s counter packets 4 bytes 252 }
wrong6> elements = { 0x00000002 . 2001:db8::9 counter packets 5 bytes 252 expires 4m58s }
"""


async def test_nft_reads_what_was_counted(fakes: Programs) -> None:
    fakes.add("nft", says=CHAIN)
    nft = Nft()
    reading = await nft.read("gre1", is_whole=True)
    assert reading is not None
    assert reading.wrong == {
        (2, parse_address("172.16.3.99")): 3,
        (10, parse_address("10.0.0.9")): 4,
        (2, parse_address("2001:db8::9")): 5,
    }
    assert reading.total == 12
    assert reading.rules is not None
    assert "packets" not in reading.rules
    again = await nft.read("gre1", is_whole=True)
    assert again is not None
    assert (again.wrong, again.rules) == ({}, reading.rules)


async def test_nft_is_asked_for_one_small_set_while_nothing_is_wrong(fakes: Programs) -> None:
    fakes.add("nft", says="wrong> table inet nhrpd-gre1 {")
    reading = await Nft().read("gre1", is_whole=False)
    assert reading is not None
    assert (reading.wrong, reading.total, reading.rules) == ({}, 0, None)
    assert fakes.log() == ["nft -n list set inet nhrpd-gre1 wrong"]


async def test_whether_nft_serves_is_tried_with_such_a_table_and_none_is_made(
    fakes: Programs,
) -> None:
    fakes.add("nft")
    await Nft().probe()
    log = fakes.log()
    assert log[0] == "nft -c -f -"
    assert any("type mark . ipv4_addr; flags interval" in line for line in log)
    assert [line for line in log if line.startswith("nft")] == log[:1]


ELEMENTS = """\
nhrpd-gre1> table inet nhrpd-gre1 {
nhrpd-gre1> set known { type mark
nhrpd-gre1> elements = { 0x00000001, 0x00000002, 0x00000003 } }
nhrpd-gre1> set any4 { type mark
nhrpd-gre1> elements = { 0x00000001 } }
nhrpd-gre1> set any6 { type mark
nhrpd-gre1> elements = { 0x00000001 } }
nhrpd-gre1> set v4 { type mark . ipv4_addr
nhrpd-gre1> flags interval
nhrpd-gre1> elements = { 0x00000002 . 10.0.0.2,
nhrpd-gre1> 0x00000002 . 172.16.2.0/24 } }
nhrpd-gre1> set v6 { type mark . ipv6_addr
nhrpd-gre1> elements = { 0x00000002 . 2001:db8::/32,
nhrpd-gre1> 0x00000009 . 10.9.0.0/16 } }
nhrpd-gre1> set awaited4 { type ipv4_addr
nhrpd-gre1> elements = { 10.0.0.9 } }
nhrpd-gre1> set wrong4 { type mark . ipv4_addr
nhrpd-gre1> elements = { 0x00000007 . 10.0.0.2 counter packets 3 bytes 252 } }
"""


async def test_nft_knows_what_an_earlier_run_allowed(fakes: Programs) -> None:
    fakes.add("nft", says=ELEMENTS)
    found = await Nft().sources("gre1")
    assert {mark: sorted(map(str, each)) for mark, each in found.items()} == {
        1: ["0.0.0.0/0", "::/0"],
        2: ["10.0.0.2/32", "172.16.2.0/24", "2001:db8::/32"],
        3: [],
    }


async def test_nft_tells_a_table_that_is_missing_from_one_that_cannot_be_read(
    fakes: Programs,
) -> None:
    fakes.add("nft", complains="Error: No such file or directory", status=1)
    assert await Nft().read("gre1", is_whole=True) is None
    assert await Nft().sources("gre1") == {}
    fakes.add("nft", complains="Operation not permitted", status=1)
    with pytest.raises(FilterError, match="nft: Operation not permitted"):
        await Nft().read("gre1", is_whole=True)
    with pytest.raises(FilterError, match="nft: Operation not permitted"):
        await Nft().remove("gre1")


def test_names_of_tunnels_become_names_of_tables_and_chains() -> None:
    assert table_name("gre1.5") == "nhrpd-gre1.5"
    assert table_name("gre@x") == "nhrpd-gre/40x"
    assert chain_name("gre1") == "nh-gre1"
    assert chain_name("a-long-name", 10) == "nh-a-2dlong-2dname:a"
    with pytest.raises(FilterError, match="too long for iptables"):
        chain_name("fifteen@letters", 0xFFFFFFFF)


async def test_a_name_that_a_program_would_take_for_something_else_is_refused(
    fakes: Programs,
) -> None:
    for name in ("gre+", 'gre"1', "!gre1"):
        with pytest.raises(FilterError, match="cannot be told to iptables"):
            chain_name(name)
    for name in ("gre*", "gre\\1"):
        fakes.add("nft")
        await Nft().write(WantedTable(name))
        escaped = name.replace("*", "\\*").replace("\\1", "\\\\1")
        assert f'iifname != "{escaped}" accept' in map(str.strip, fakes.log())
    with pytest.raises(FilterError, match="cannot be told to nft"):
        await Nft().write(WantedTable('gre"1'))


# iptables.


def saves(*rules: str) -> str:
    lines = ["*mangle", ":PREROUTING ACCEPT [0:0]", *rules, "COMMIT"]
    return "".join(f"mangle> {line}\n" for line in lines)


async def test_iptables_makes_a_chain_a_mark(fakes: Programs) -> None:
    for command in ("iptables", "ip6tables"):
        fakes.add(f"{command}-save", says=saves())
        fakes.add(f"{command}-restore")
    await Iptables().write(a_table())
    log = fakes.log()
    at = log.index("iptables-restore --noflush -w 5")
    clear = "-j MARK --set-xmark 0x0/0xffffffff"
    assert log[at + 1 : log.index("COMMIT", at) + 1] == [
        "*mangle",
        ":nh-gre1 - [0:0]",
        *(f":nh-gre1:{mark} - [0:0]" for mark in range(4)),
        *(f"-A nh-gre1 -m mark --mark {mark:#x} -g nh-gre1:{mark}" for mark in (1, 2, 3)),
        f"-A nh-gre1:0 -s 172.16.9.9/32 {clear}",
        f"-A nh-gre1:0 -s 0.0.0.0/32 {clear}",
        f"-A nh-gre1:0 -s 169.254.0.0/16 {clear}",
        f"-A nh-gre1:1 {clear}",
        "-A nh-gre1:1 -j nh-gre1:0",
        "-A nh-gre1:1 -m mark --mark 0x0 -j RETURN",
        "-A nh-gre1:1 -j DROP",
        f"-A nh-gre1:2 -s 10.0.0.2/32 {clear}",
        f"-A nh-gre1:2 -s 172.16.2.0/24 {clear}",
        "-A nh-gre1:2 -j nh-gre1:0",
        "-A nh-gre1:2 -m mark --mark 0x0 -j RETURN",
        "-A nh-gre1:2 -j DROP",
        "-A nh-gre1:3 -j nh-gre1:0",
        "-A nh-gre1:3 -m mark --mark 0x0 -j RETURN",
        "-A nh-gre1:3 -j DROP",
        "-I PREROUTING 1 -i gre1 -j nh-gre1",
        "COMMIT",
    ]
    assert f"-A nh-gre1:2 -s 2001:db8::/32 {clear}" in log


THERE = (
    ":nh-gre1 - [0:0]",
    ":nh-gre1:0 - [0:0]",
    ":nh-gre1:2 - [0:0]",
    ":nh-gre1:a - [0:0]",
    "[9:99] -A PREROUTING -i gre1 -j nh-gre1",
    "[9:99] -A nh-gre1 -m mark --mark 0x2 -g nh-gre1:2",
    "[1:99] -A nh-gre1:2 -s 172.16.2.0/24 -j MARK --set-xmark 0x0/0xffffffff",
    "[7:99] -A nh-gre1:2 -j DROP",
    "[0:0] -A nh-gre1:a -j MARK --set-xmark 0x0/0xffffffff",
    "[0:0] -A nh-gre1:a -m mark ! --mark 0x0 -j MARK --set-xmark 0x0/0xffffffff",
)


async def test_iptables_reads_counts_and_what_an_earlier_run_allowed(
    fakes: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iptables, "IPV6_SETTINGS", fakes.directory / "none")
    fakes.add("iptables-save", says=saves(*THERE))
    reading = await Iptables().read("gre1", is_whole=True)
    assert reading is not None
    assert (reading.wrong, reading.total) == ({(2, b""): 7, (10, b""): 0}, 7)
    assert await Iptables().sources("gre1") == {2: [parse_prefix("172.16.2.0/24")], 10: [ANY4]}
    for gone in (THERE[4], THERE[0]):
        fakes.add("iptables-save", says=saves(*(each for each in THERE if each != gone)))
        assert await Iptables().read("gre1", is_whole=True) is None


async def test_chains_of_others_that_are_named_like_ours_are_none(
    fakes: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iptables, "IPV6_SETTINGS", fakes.directory / "none")
    fakes.add("iptables-save", says=saves(*THERE, ":nh-gre1:old - [0:0]", ":nh-gre1: - [0:0]"))
    reading = await Iptables().read("gre1", is_whole=True)
    assert reading is not None
    assert reading.total == 7
    assert list(await Iptables().sources("gre1")) == [2, 10]


async def test_iptables_makes_only_changed_chains_anew_and_removes_old_ones(
    fakes: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iptables, "IPV6_SETTINGS", fakes.directory / "none")
    fakes.add("iptables-save", says=saves(*THERE))
    fakes.add("iptables-restore")
    wanted = a_table(drop=False)
    wanted.written()
    wanted.allow(AllowSources("gre1", 3, (parse_prefix("172.16.3.0/24"),)))
    await Iptables().change(wanted, wanted.written())
    log = fakes.log()
    assert not [line for line in log if line.startswith("-A nh-gre1:2 ")]
    assert "-A nh-gre1:3 -m mark ! --mark 0x0 -j MARK --set-xmark 0x0/0xffffffff" in log
    assert log[-3:] == ["-F nh-gre1:a", "-X nh-gre1:a", "COMMIT"]
    await Iptables().remove("gre1")
    assert fakes.log()[2:] == [
        "*mangle",
        "-D PREROUTING -i gre1 -j nh-gre1",
        *(f"-F nh-gre1{each}" for each in ("", ":0", ":2", ":a")),
        *(f"-X nh-gre1{each}" for each in ("", ":0", ":2", ":a")),
        "COMMIT",
    ]
    fakes.add("iptables-save", says=saves())
    await Iptables().remove("gre1")
    assert fakes.log() == ["iptables-save -c -t mangle"]


async def test_the_lock_of_iptables_is_where_the_unit_may_write(
    fakes: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iptables, "IPV6_SETTINGS", fakes.directory / "none")
    (fakes.directory / "iptables-save").write_text(
        '#!/bin/sh\necho "[0:0] -A lock $XTABLES_LOCKFILE"\n'
    )
    (fakes.directory / "iptables-save").chmod(0o755)
    seen: list[str] = []

    async def note(*words: str, **options: object) -> str:
        seen.append(await programs.run(*words, **options))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(iptables, "run", note)
    monkeypatch.setattr(os, "access", lambda path, _mode: path == "/writable")
    for run, directory, lock in (
        ("/writable", "/run/nhrpd", ""),
        ("/closed", "/run/nhrpd:/run/other", "/run/nhrpd/xtables.lock"),
        ("/closed", "", ""),
    ):
        monkeypatch.setattr(iptables, "RUN", run)
        monkeypatch.setenv("RUNTIME_DIRECTORY", directory)
        await Iptables().sources("gre1")
        assert seen.pop().split()[-1] == (lock or "lock")


# Running them.


async def test_a_program_that_is_missing_or_hangs_is_a_reason(
    fakes: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FilterError, match="no-such-program: No such file"):
        await programs.run("no-such-program")
    monkeypatch.setattr(programs, "LIMIT_S", 0.2)
    with pytest.raises(FilterError, match=r"sleep did not end within 0\.2 s"):
        await programs.run("sleep", "60")
    with pytest.raises(FilterError, match="false: status 1"):
        await programs.run("false")
    assert programs.is_there("sh")
    assert not programs.is_there("no-such-program")
