"""Reads opennhrp.conf, a text of words, and its script."""

import re
from collections.abc import Iterator

from nhrpd_py.cli.importing.node import Node, Said, Setting
from nhrpd_py.cli.importing.rules import Place, apply
from nhrpd_py.cli.importing.source import Source
from nhrpd_py.cli.importing.table.opennhrp import RULES

ARGUMENTS = {
    "interface": 1,
    "map": 2,
    "dynamic-map": 2,
    "shortcut-target": 1,
    "multicast": 1,
    "holding-time": 1,
    "route-table": 1,
    "cisco-authentication": 1,
    "redirect": 0,
    "shortcut": 0,
    "non-caching": 0,
    "shortcut-destination": 0,
}
"""Keyword → how many words belong to it."""
OPTIONS = {"map": ("register", "no-unique", "cisco"), "shortcut-target": ("holding-time",)}
EVENT = re.compile(r"\s*\(?\s*(?P<events>[\w|\s-]*\b(?:peer|nhs|route|interface)-[\w|\s-]+)\)\s*.*")


def read_opennhrp(source: Source, node: Node, *, several: bool) -> None:
    """Raises InputError."""
    subject = ""
    for said in _statements(source):
        keyword, _, rest = said.text.partition(" ")
        if keyword == "interface":
            subject = rest
            continue
        place = Place(node, said, subject, several)
        if not subject and apply(RULES, place, ""):
            continue
        if not subject or not apply(RULES, place, "interface"):
            place.refuse("OpenNHRP does not know it here either.")
    _finish(node)


def _finish(node: Node) -> None:
    for tunnel in node.tunnels.values():
        if tunnel.first is None:
            continue
        tunnel.speaks_nhrp = True
        tunnel.settings["network-id"] = Setting(
            1,
            "a number of our own choice, for OpenNHRP has none; interfaces with one number are one cloud",
        )
    for key in ("shortcut", "lookup-tables"):
        setting = node.general.pop(("", key), None)
        if setting is not None:
            for tunnel in node.speakers:
                tunnel.settings.setdefault(key, setting)
    node.note(
        "OpenNHRP's script (opennhrp-script) is not carried over. peer-register: [[interface.NAME.authorize]] "
        "says who may have which address. peer-up, peer-down: nhrpd has charon make and end the SAs "
        "([interface.NAME.ipsec]). route-up, route-down: nhrpd writes the routes itself. The rest: "
        "`nhrpctl monitor`."
    )


def _statements(source: Source) -> Iterator[Said]:
    """Yields keywords with the words that belong to them. Raises InputError where the file ends
    within one."""
    words = list(_words(source))
    at = 0
    while at < len(words):
        number, keyword = words[at]
        count = ARGUMENTS.get(keyword)
        if count is None:  # unknown: the rest of its line is taken to belong to it
            end = at + 1
            while end < len(words) and words[end][0] == number and words[end][1] not in ARGUMENTS:
                end += 1
        else:
            end = at + 1 + count
            if end > len(words):
                raise source.fault(number, f"the file ends within {keyword}")
            while end < len(words) and words[end][1] in OPTIONS.get(keyword, ()):
                end += 2 if words[end][1] == "holding-time" else 1
        yield source.said(number, " ".join(word for _, word in words[at:end]))
        at = end


def _words(source: Source) -> Iterator[tuple[int, str]]:
    for number, line in source.numbered():
        yield from ((number, word) for word in line.partition("#")[0].split())


def read_script(source: Source, node: Node, *, several: bool) -> None:
    """Names the events that a script deals with, and what does so now."""
    named = 0
    for number, line in source.numbered():
        found = EVENT.fullmatch(line.partition("#")[0])
        for event in re.split(r"[|\s]+", found["events"]) if found is not None else ():
            said = source.said(number, event)
            if event and apply(RULES, Place(node, said, "", several, "script"), "script"):
                named += 1
    if not named:
        raise source.fault(1, "a shell script, but it deals with no event of OpenNHRP")
