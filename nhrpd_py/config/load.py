"""Reads the configuration file (TOML) into `core.config.Config`, or reports all errors in it.

`load` is the entry; it raises one `ConfigError` with all errors, each as `file: path.to.key: the
error`. pydantic is imported when a file is read, not before: commands that need no file start
faster without it.
"""

import difflib
import grp
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from nhrpd_py.core.address import afi_of, parse_address
from nhrpd_py.core.config import (
    DEFAULT_HOLDING_TIME_S,
    DEFAULT_LONGEST_HOLDING_TIME_S,
    MAX_HOLDING_TIME_S,
    Config,
    ConfigError,
    NflogConfig,
)

Location: TypeAlias = tuple[str | int, ...]
Problem: TypeAlias = tuple[Location, str]

SYNTAX_PLACE = re.compile(
    r"(?P<what>.*) \((?:at )?(?P<where>line \d+, column \d+|end of document)\)"
)
ARRAYS_OF_TEXT = {
    **dict.fromkeys(("protocol", "prefixes", "overlay"), '["10.1.0.0/16"]'),
    "multicast": '["dynamic"]',
}
"""Keys of arrays of text, with an example each."""
TOO_DEEP = "tables within tables without end"
TOO_LONG = "a number has more than 64 bits"
INTEGERS = range(-(1 << 63), 1 << 63)
"""The integers of TOML. tomllib reads longer ones, but Python does not print those of 4301 digits."""
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def load(path: str | Path) -> Config:
    """Reads and checks a file; raises ConfigError with every problem."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: octet {error.start + 1}: is not UTF-8"]) from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Config:
    """Checks the text of a file; `name` is its name in messages."""
    from pydantic import ValidationError  # noqa: PLC0415 (slow, and only files need it)

    from nhrpd_py.config.schema import FileTable  # noqa: PLC0415

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{name}: {_syntax(error)}"]) from None
    except RecursionError:
        raise ConfigError([f"{name}: {TOO_DEEP}"]) from None
    except ValueError:  # raised by int() for thousands of digits, without the place
        raise ConfigError([f"{name}: {TOO_LONG}"]) from None
    too_long = [f"{name}: {_path(where)}: {TOO_LONG}" for where in _long_integers(document)]
    if too_long:
        raise ConfigError(too_long)
    problems = list(_across_tables(document))
    table = None
    try:
        table = FileTable.model_validate(document)
    except ValidationError as error:
        details: list[Any] = error.errors(include_url=False)
        problems = [(_location(d["loc"]), _sentence(d)) for d in details] + problems
    if problems or table is None:
        raise ConfigError([f"{name}: {_path(where)}: {what}" for where, what in problems])
    return table.value()


def _syntax(error: tomllib.TOMLDecodeError) -> str:
    found = SYNTAX_PLACE.fullmatch(str(error))
    if found is None:
        return str(error)
    return f"{found['where']}: {found['what']}"


def _long_integers(document: Mapping[str, Any]) -> Iterator[Location]:
    """Yields the places of integers that are too long for TOML.

    It does not recurse, because dotted keys nest without end.
    """
    waiting: list[tuple[Any, Any, Any]] = [(document, None, None)]
    while waiting:
        value, key, parent = link = waiting.pop()
        if isinstance(value, int) and value not in INTEGERS:
            path = [key]
            while parent[2] is not None:
                _value, key, parent = parent
                path.append(key)
            yield tuple(reversed(path))
        elif isinstance(value, dict):
            waiting += [(each, name, link) for name, each in value.items()]
        elif isinstance(value, list):
            waiting += [(each, at, link) for at, each in enumerate(value)]


def _location(loc: Location) -> Location:
    """Removes the `[key]` that pydantic appends in errors about a dictionary's key."""
    return loc[:-1] if loc and loc[-1] == "[key]" else loc


def _path(location: Location) -> str:
    """Writes a path as in TOML: `interface.gre1.nhs[0].nbma`; arrays are counted from 0."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if BARE_KEY.fullmatch(step) else _quoted(step)
            text += f".{key}" if text else key
    return text


def _quoted(key: str) -> str:
    """Writes a key as TOML quotes it: on one line, whatever is in it."""
    return json.dumps(key, ensure_ascii=not key.isprintable())


def _sentence(detail: Mapping[str, Any]) -> str:
    """Returns an error as a sentence for operators. A secret is never repeated."""
    location: Location = detail["loc"]
    value = detail["input"]
    shown = "" if "authentication" in location else f", not {_shown(value)}"
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return _unknown_key(location)
        case "int_type":
            return f"must be a whole number{shown}"
        case "bool_type":
            return f"must be true or false{shown}"
        case "string_type":
            return f"must be a string{shown}"
        case "list_type":
            if location[-1] in ARRAYS_OF_TEXT:
                return f"must be an array such as {ARRAYS_OF_TEXT[str(location[-1])]}{shown}"
            return f"must be an array of tables, [[{_path(location)}]]"
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"must be a table, [{_path(location)}]"
        case "literal_error":
            return f"must be {detail['ctx']['expected'].replace(chr(39), '')}{shown}"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            return str(detail["msg"])


def _shown(value: object) -> str:
    try:
        text = str(value).lower() if isinstance(value, bool) else repr(value)
    except RecursionError:
        return TOO_DEEP
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 (a line for people)


def _unknown_key(location: Location) -> str:
    from nhrpd_py.config.schema import table_at  # noqa: PLC0415

    key = str(location[-1])
    table = table_at(location[:-1])
    known = table.keys() if table is not None else []
    close = difflib.get_close_matches(key.replace("_", "-"), known, 1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; known here: {', '.join(sorted(known))}"


def _across_tables(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields errors across values: duplicates, mixed families, no interface at all.

    Values of a wrong type are skipped: the models report them.
    """
    interfaces = document.get("interface", {})
    if interfaces == {}:
        yield ("interface",), "is missing: at least one [interface.NAME] is needed"
    daemon = document.get("daemon")
    group = daemon.get("control-group") if isinstance(daemon, dict) else None
    if isinstance(group, str) and not _group_exists(group):
        yield ("daemon", "control-group"), f"this machine has no group {group!r}"
    if isinstance(interfaces, dict):
        tables = {name: each for name, each in interfaces.items() if isinstance(each, dict)}
        yield from _about_groups(document, tables)
        for name, table in tables.items():
            yield from _within_interface(("interface", name), table)


def _about_groups(
    document: Mapping[str, Any], interfaces: Mapping[str, Mapping[str, Any]]
) -> Iterator[Problem]:
    """Yields one error where samples for redirects and multicast would come by one NFLOG group."""
    nflog = document.get("nflog", {})
    if not isinstance(nflog, dict):
        return
    usual = NflogConfig()
    groups = (
        nflog.get("redirect-group", usual.redirect_group),
        nflog.get("multicast-group", usual.multicast_group),
    )
    users = [name for name, table in interfaces.items() if table.get("multicast")]
    if users and groups[0] == groups[1]:
        key = "multicast-group" if "multicast-group" in nflog else "redirect-group"
        user = _path(("interface", users[0]))
        yield (
            ("nflog", key),
            f"is the group of redirects and of multicast, which {user} uses: each needs its own",
        )


def _about_multicast(where: Location, table: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields contradictions about who gets copies of multicast."""
    targets = table.get("multicast")
    if not targets and "multicast-rate" in table:
        yield (*where, "multicast-rate"), "needs multicast: without targets nothing is replicated"
    if not isinstance(targets, list):
        return
    first: dict[str, int] = {}
    for at, target in enumerate(targets):
        normal = _normal(target)
        if normal and first.setdefault(normal, at) != at:
            yield (*where, "multicast", at), f"is the same target as multicast[{first[normal]}]"


def _within_interface(where: Location, table: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _within_ipsec(where, table)
    yield from _about_claims(where, table)
    yield from _about_multicast(where, table)
    servers: dict[tuple[str, str], int] = {}
    mapped: dict[str, int] = {}
    family: tuple[str, str] | None = None
    for at, entry in _entries(table, "nhs"):
        server = (_normal(entry.get("protocol")), _normal(entry.get("nbma")))
        first = servers.setdefault(server, at)
        if first != at and all(server):
            yield (*where, "nhs", at), f"is the same server as nhs[{first}]"
    for at, entry in _entries(table, "map"):
        protocol = _normal(entry.get("protocol"))
        first = mapped.setdefault(protocol, at)
        if first != at and protocol:
            yield (*where, "map", at, "protocol"), f"is mapped by map[{first}] already"
    for place, nbma in _nbma_addresses(table):
        here = _family(nbma)
        if here is None:
            continue
        family = family or (here, _path(place))
        if family[0] != here:
            yield (
                (*where, *place),
                f"is {here}, but {family[1]} is {family[0]}: a tunnel has one underlay",
            )


def _nbma_addresses(table: Mapping[str, Any]) -> Iterator[tuple[Location, object]]:
    """Yields the outer addresses of an interface, and whatever stands where one should."""
    for kind in ("nhs", "map"):
        for at, entry in _entries(table, kind):
            yield (kind, at, "nbma"), entry.get("nbma")
    targets = table.get("multicast")
    if isinstance(targets, list):
        for at, target in enumerate(targets):
            yield ("multicast", at), target


def _about_claims(where: Location, table: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields contradictions between settings about what is believed."""
    longest = table.get("max-holding-time", DEFAULT_LONGEST_HOLDING_TIME_S)
    own = table.get("holding-time", DEFAULT_HOLDING_TIME_S)
    if type(longest) is int and type(own) is int and longest < own <= MAX_HOLDING_TIME_S:
        yield (*where, "holding-time"), f"is more than max-holding-time, which is {longest}"
    if table.get("authenticated-purge") is True and "authentication" not in table:
        yield (
            (*where, "authenticated-purge"),
            "needs authentication: a pass phrase that clients know",
        )


def _within_ipsec(where: Location, table: Mapping[str, Any]) -> Iterator[Problem]:
    """Yields contradictions about who may claim what.

    Rules are for IKE identities, so they need IPsec; and either rules or certificates decide.
    """
    ipsec, rules = table.get("ipsec"), table.get("authorize")
    if rules and ipsec is None:
        yield (*where, "authorize"), f"needs [{_path((*where, 'ipsec'))}]: identities are IKE's"
    if table.get("source-filter") is True and ipsec is None:
        yield (
            (*where, "source-filter"),
            f"needs [{_path((*where, 'ipsec'))}]: without IPsec nobody knows whose a packet is",
        )
    if not isinstance(ipsec, dict):
        return
    by_certificate = ipsec.get("authorize") == "certificate"
    if by_certificate and rules:
        yield (
            (*where, "ipsec", "authorize"),
            f"certificate leaves no place for rules in {_path((*where, 'authorize'))}",
        )
    if by_certificate and "unlisted" in ipsec:
        yield (*where, "ipsec", "unlisted"), "is for rules; the certificates list everybody"
    if ipsec.get("profile") == ipsec.get("fallback-profile", ""):
        yield (*where, "ipsec", "fallback-profile"), "is the profile itself"


def _entries(table: Mapping[str, Any], kind: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    entries = table.get(kind)
    if isinstance(entries, list):
        yield from ((at, entry) for at, entry in enumerate(entries) if isinstance(entry, dict))


def _normal(text: object) -> str:
    """Returns one spelling for each address or name; empty for a value that is no text."""
    if not isinstance(text, str):
        return ""
    try:
        return parse_address(text).hex()
    except ValueError:
        return text.removesuffix(".").lower()


def _family(text: object) -> str | None:
    try:
        return {"ipv4": "IPv4", "ipv6": "IPv6"}[afi_of(parse_address(str(text)))]
    except ValueError:
        return None


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except (KeyError, ValueError):  # ValueError: a name with a zero octet in it
        return False
    return True
