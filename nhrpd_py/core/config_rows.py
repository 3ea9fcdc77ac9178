"""The configuration in force as rows, with the keys of its file. Secrets are not shown."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from nhrpd_py.core.address import Prefix, format_address
from nhrpd_py.core.config import AuthorizeConfig, Config, ProfileValue, Secret
from nhrpd_py.core.rows import ConfigRow

_FILE_KEYS = {
    "holding_time_s": "holding-time",
    "max_holding_time_s": "max-holding-time",
    "maps": "map",
    "path_check_s": "path-check",
}
"""Fields whose key in the file is not just the name with `-` for `_`."""
_LISTS = ("overlay", "multicast")
"""Lists of values: an empty one is no setting."""


def config_rows(config: Config, interface: str | None) -> Iterator[ConfigRow]:
    """Yields one row for each setting; with `interface`, only the settings of that interface."""
    if interface is None:
        for section in ("daemon", "nflog", "routes", "vici"):
            yield from _rows(section, getattr(config, section))
        for name, profile in config.profiles.items():
            yield from _profile_rows(f"profile.{name}", profile)
    for name, each in config.interfaces.items():
        if interface in (None, name):
            yield from _rows(f"interface.{name}", each, skip=("name",))


def _rows(path: str, section: Any, skip: tuple[str, ...] = ()) -> Iterator[ConfigRow]:
    for field in fields(section):
        value = getattr(section, field.name)
        if field.name in skip or value is None or (field.name in _LISTS and not value):
            # The two that are None and a setting: an NHS whose address is to be learnt, and no checks.
            if field.name == "protocol" and hasattr(section, "nbma"):
                yield ConfigRow(path=f"{path}.protocol", value="dynamic")
            if field.name == "path_check_s":
                yield ConfigRow(path=f"{path}.path-check", value="false")
            continue
        key = f"{path}.{_FILE_KEYS.get(field.name, field.name.replace('_', '-'))}"
        if isinstance(value, AuthorizeConfig):
            yield from _authorize_rows(path, value)
        elif isinstance(value, tuple) and all(is_dataclass(item) for item in value):
            for index, item in enumerate(value):
                yield from _rows(f"{key}[{index}]", item)
        elif is_dataclass(value) and not isinstance(value, Secret):
            yield from _rows(key, value)
        else:
            yield ConfigRow(path=key, value=_text(value))


def _authorize_rows(path: str, authorize: AuthorizeConfig) -> Iterator[ConfigRow]:
    """Yields the rules, which the file has beside `ipsec`, and the other settings, which it has within `ipsec`."""
    if authorize == AuthorizeConfig():
        return
    kind = "certificate" if authorize.certificate else "rules"
    yield ConfigRow(path=f"{path}.ipsec.authorize", value=kind)
    if not authorize.certificate:
        yield ConfigRow(path=f"{path}.ipsec.unlisted", value=authorize.unlisted)
    for index, rule in enumerate(authorize.rules):
        yield from _rows(f"{path}.authorize[{index}]", rule)


def _profile_rows(path: str, section: Mapping[str, ProfileValue]) -> Iterator[ConfigRow]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _profile_rows(f"{path}.{key}", value)
        else:
            yield ConfigRow(path=f"{path}.{key}", value=_text(value))


def _text(value: Any) -> str:
    match value:
        case Secret():
            return "***"
        case bytes():
            return format_address(value)
        case bool():
            return "true" if value else "false"
        case Prefix():
            return str(value)
        case tuple():
            return ", ".join(map(_text, value))
        case _:
            return str(value)
