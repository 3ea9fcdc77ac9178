"""Which program of a machine serves, and what others do there."""

import pytest

from nhrpd_py.runtime.source_filter import programs
from nhrpd_py.runtime.source_filter.iptables import Iptables
from nhrpd_py.runtime.source_filter.machine import backend_of_this_machine, others_of_this_machine
from nhrpd_py.runtime.source_filter.nft import Nft
from nhrpd_py.runtime.source_filter.table import FilterError
from tests.unit.runtime.source_filter.fake_programs import Programs


async def test_rules_of_others_are_looked_for_with_every_program_that_is_there(
    fakes: Programs,
) -> None:
    fakes.add("ip", says='rule> [{"priority": 9, "fwmark": "0x1", "table": "wan"}]\n')
    fakes.add("nft", says='ruleset> {"nftables": []}\n')
    fakes.add("iptables-legacy-save", complains="no", status=1)
    fakes.add("iptables-save", says="")
    text = "*mangle\\n-A PREROUTING -i eth0 -j MARK --set-mark 1\\nCOMMIT\\n"
    (fakes.directory / "iptables-save").write_text(f'#!/bin/sh\nprintf "{text}"\n')
    assert await others_of_this_machine({"eth0"}) == [
        "ip rule 9: fwmark 0x1 lookup wan",
        "iptables -t mangle -A PREROUTING -i eth0 -j MARK --set-mark 1",
    ]


@pytest.mark.parametrize("odd", ["[1]", '{"nftables": [{"rule": {}}]}', "{", "[]", "3"])
async def test_what_is_not_understood_of_others_is_passed_over(fakes: Programs, odd: str) -> None:
    fakes.add("ip", says=f"rule> {odd}\n")
    fakes.add("nft", says=f"ruleset> {odd}\n")
    for tool in ("iptables", "iptables-legacy"):
        fakes.add(f"{tool}-save", says="")
    assert await others_of_this_machine({"eth0"}) == []
    assert "nft -t -j list ruleset" in fakes.log()  # without the elements of others' sets


COMMANDS = ("iptables", "ip6tables")
LEGACY = ("iptables-legacy", "ip6tables-legacy")


@pytest.mark.parametrize(
    ("working", "broken", "program"),
    [
        (("nft", *COMMANDS), (), "nft"),
        (COMMANDS, (), "iptables-restore"),
        (COMMANDS, ("nft",), "iptables-restore"),  # a kernel without nf_tables
        (LEGACY, ("nft", *COMMANDS), "iptables-legacy-restore"),
    ],
)
async def test_the_first_program_that_works_is_taken(
    fakes: Programs,
    monkeypatch: pytest.MonkeyPatch,
    working: tuple[str, ...],
    broken: tuple[str, ...],
    program: str,
) -> None:
    for names, status in ((working, 0), (broken, 1)):
        for name in names:
            fakes.add(name if name == "nft" else f"{name}-restore", complains="no", status=status)
    monkeypatch.setattr(programs, "is_there", lambda name: (fakes.directory / name).exists())
    found = await backend_of_this_machine()
    assert isinstance(found, Nft | Iptables)
    assert found.program == program


async def test_where_none_works_all_reasons_are_told(
    fakes: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "is_there", lambda name: (fakes.directory / name).exists())
    with pytest.raises(FilterError, match="neither nft nor iptables-restore is installed"):
        await backend_of_this_machine()
    fakes.add("nft", complains="not supported", status=1)
    fakes.add("iptables-restore", complains="no table", status=1)
    with pytest.raises(FilterError, match="nft: not supported; iptables-restore: no table"):
        await backend_of_this_machine()
