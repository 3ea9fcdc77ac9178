"""What the documents say of the code: every setting, key, metric, command and test that they name is there, and the
other way round."""

import ast
import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from click import Group

from nhrpd_py.cli import ctl, tables, words
from nhrpd_py.config import schema
from nhrpd_py.core import filter_notices
from nhrpd_py.core.notices import Notice, PeerNotice
from nhrpd_py.packet.wire import DropReason

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("[!.]*/**/*.md")])
SETTINGS: list[tuple[str, type[schema.Table]]] = [
    ("`[daemon]`", schema.DaemonTable),
    ("`[nflog]`", schema.NflogTable),
    ("`[routes]`", schema.RoutesTable),
    ("`[vici]`", schema.ViciTable),
    ("`[interface.NAME]`", schema.InterfaceTable),
    ("`[[interface.NAME.nhs]]`", schema.NhsTable),
    ("`[[interface.NAME.map]]`", schema.MapTable),
    ("`[interface.NAME.ipsec]`", schema.IpsecTable),
    ("`[[interface.NAME.authorize]]`", schema.AuthorizeTable),
]
ROWS = {
    "cache": "CacheRow",
    "nhs": "NhsRow",
    "shortcuts": "ShortcutRow",
    "interfaces": "InterfaceRow",
    "peers": "PeerRow",
    "sas": "SaRow",
    "traffic": "TrafficRow",
    "problems": "ProblemRow",
    "probes": "ProbeRow",
    "routes": "RouteRow",
    "config": "ConfigRow",
    "Answers to commands": "Finding",
}
"""Section of docs/json.md → the class whose fields are its keys."""

WORDS = {
    "cache": words.CACHE_TYPES,
    "nhs": words.NHS_STATES,
    "shortcuts": words.SHORTCUT_STATES,
    "peers": words.IPSEC_STATES,
    "sas": words.SA_STATES,
    "problems": words.PROBLEM_KINDS,
    "routes": words.ROUTE_KINDS,
}
"""Section of docs/json.md → the words that its types and states can have."""


def document(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """The text below a heading, up to the next one."""
    _, found, after = re.split(rf"^#+ ({re.escape(title)}).*$", document(name), flags=re.MULTILINE)
    assert found == title
    return re.split(r"^#", after, maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """What is between backticks in the first column of a table."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


@cache
def sources(below: str) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted((PROJECT / below).rglob("*.py"))]


def fields_of(name: str) -> list[str]:
    """The fields of a class that is found by its name: which room it lives in is no matter of the documents."""
    (source,) = (text for text in sources("nhrpd_py") if f"class {name}:" in text)
    (found,) = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    return [
        node.target.id
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


@pytest.mark.parametrize(("title", "table"), SETTINGS, ids=[title for title, _ in SETTINGS])
def test_every_setting_is_documented(title: str, table: type[schema.Table]) -> None:
    subtables = {"nhs", "map", "ipsec", "authorize"} if table is schema.InterfaceTable else set()
    assert set(first_cells(section("docs/settings.md", title))) == set(table.keys()) - subtables


def test_every_table_of_the_file_is_documented() -> None:
    headings = re.findall(r"^## `\[(\w+)", document("docs/settings.md"), flags=re.MULTILINE)
    assert sorted(headings) == sorted(schema.FileTable.keys())


def test_defaults_are_those_of_the_code() -> None:
    text = document("docs/settings.md")
    for table in (schema.NflogTable, schema.RoutesTable, schema.ViciTable, schema.InterfaceTable):
        for name, field in table.model_fields.items():
            if isinstance(field.default, int | str):
                shown = str(field.default).lower()
                key = str(field.alias or name)
                assert re.search(rf"^\| `{key}` \| `?{re.escape(shown)}`? \|", text, re.MULTILINE)


@pytest.mark.parametrize(("title", "row"), ROWS.items(), ids=list(ROWS))
def test_every_key_of_a_view_is_documented(title: str, row: str) -> None:
    assert first_cells(section("docs/json.md", title)) == fields_of(row)


@pytest.mark.parametrize(("title", "words"), WORDS.items(), ids=list(WORDS))
def test_every_type_and_state_is_documented(title: str, words: Mapping[str, str]) -> None:
    text = section("docs/json.md", title)
    assert [word for word in words if f"`{word}`" not in text] == []


def test_every_view_has_its_rows_documented() -> None:
    assert set(tables.TABLES) == ROWS.keys() - {"Answers to commands"}
    assert first_cells(section("docs/commands.md", "nhrpctl show VIEW")) == list(tables.TABLES)


def test_every_event_is_documented_with_its_keys() -> None:
    documented = {}
    for line in section("docs/json.md", "Events").splitlines():
        if line.startswith("| `"):
            event, keys = line.split("|")[1:3]
            documented[event.strip(" `")] = set(re.findall(r"`(\w+)`", keys))
    assert issubclass(
        filter_notices.SourceFilterFailed, Notice
    )  # imported: so its notices are known
    notices = [*Notice.__subclasses__(), *PeerNotice.__subclasses__()]
    assert documented == {
        each.event: {field.name for field in fields(each)} - {"interface"}
        for each in notices
        if hasattr(each, "event")  # PeerNotice is no event itself
    }


def test_every_metric_is_documented() -> None:
    metrics = {
        node.value
        for path in (PROJECT / "nhrpd_py").rglob("metrics.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and re.fullmatch(r"nhrpd_[a-z_]+", str(node.value))
    }
    table = document("docs/metrics.md").partition("## Reasons")[0]
    documented = [name for name in first_cells(table) if name.startswith("nhrpd_")]
    assert {name.removesuffix("_total") for name in documented} == metrics
    assert len(metrics) == len(documented)


def test_every_reason_for_a_drop_is_documented() -> None:
    documented = set(first_cells(section("docs/metrics.md", "Reasons for drops")))
    assert documented >= {reason.value for reason in DropReason}


def test_every_command_and_option_is_documented() -> None:
    text = document("docs/commands.md")
    assert isinstance(ctl.cli, Group)
    for name, command in ctl.cli.commands.items():
        assert f"### nhrpctl {name}" in text
        of_command = section("docs/commands.md", f"nhrpctl {name}")
        heading = re.search(rf"^### nhrpctl {name}.*$", text, re.MULTILINE)
        assert heading is not None
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "json":
                shown = heading[0] + of_command
                assert any(option in shown for option in parameter.opts), parameter.opts


def test_every_test_that_shows_a_deviation_is_there() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", document("docs/deviations.md")))
    there = {name for text in sources("tests") for name in re.findall(r"def (test_\w+)", text)}
    assert named - there == set()


def test_every_deviation_has_its_number_and_a_test() -> None:
    parts = re.split(r"^### DEV-(\d+) ", document("docs/deviations.md"), flags=re.MULTILINE)
    numbers, texts = parts[1::2], parts[2::2]
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert [text for text in texts if "test_" not in text] == []
    mentioned = {int(number) for number in re.findall(r"DEV-(\d+)", document("docs/deviations.md"))}
    assert mentioned == set(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        link = "".join(target)
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        file = (path.parent / name) if name else path
        assert file.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
            assert anchor in anchors, link
