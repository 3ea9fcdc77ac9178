"""Makes the tables of docs/interoperation.md out of the rules that import goes by: `python -m` writes them."""

from collections.abc import Iterator
from pathlib import Path

from nhrpd_py.cli.importing.later import LATER
from nhrpd_py.cli.importing.rules import Rule
from nhrpd_py.cli.importing.table import frr, ios, opennhrp, vyos

ESCAPED_BAR = "\\|"
PLAIN_BLOCKS = ("", "interface", "script")
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->"
TABLES: dict[str, tuple[Rule, ...]] = {
    "FRR and Quagga": frr.TABLE,
    "OpenNHRP": opennhrp.TABLE,
    "OpenNHRP's script": opennhrp.SCRIPTS,
    "VyOS": vyos.TABLE,
    "Cisco IOS": ios.TABLE,
}


def tables() -> str:
    """Returns the tables, a heading above each."""
    return "\n".join(line for name, rules in TABLES.items() for line in _table(name, rules))


def _table(name: str, rules: tuple[Rule, ...]) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    yield "| command | here |"
    yield "| --- | --- |"
    for rule in rules:
        if rule.documented:
            block = "" if rule.block in PLAIN_BLOCKS else f"({rule.block}) "
            yield f"| {block}`{rule.command.replace('|', ESCAPED_BAR)}` | {_here(rule)} |"
    yield ""


def _here(rule: Rule) -> str:
    if rule.needs in LATER:
        return f"Not carried over yet: {LATER[rule.needs]}."
    if rule.partly in LATER:
        return f"{rule.becomes}: that not yet, for {LATER[rule.partly]}"
    return rule.becomes.replace("|", ESCAPED_BAR)


def renewed(text: str) -> str:
    """Returns the page with the tables that it should have."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}{tables()}\n{end}{after}"


if __name__ == "__main__":
    path = Path("docs/interoperation.md")
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
