"""The configuration in force as rows, in the words of its file. Secrets are not shown."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from nhrpd_py.core.address import format_address
from nhrpd_py.core.config import Config, Secret
from nhrpd_py.core.rows import ConfigRow

_FILE_KEYS = {"holding_time_s": "holding-time", "maps": "map"}
"""Fields whose key in the file is not just the name with `-` for `_`."""


def config_rows(config: Config, interface: str | None) -> Iterator[ConfigRow]:
    """One row a setting; with an interface, only its own."""
    if interface is None:
        for section in ("daemon", "nflog", "routes"):
            yield from _rows(section, getattr(config, section))
    for name, each in config.interfaces.items():
        if interface in (None, name):
            yield from _rows(f"interface.{name}", each, skip=("name",))


def _rows(path: str, section: Any, skip: tuple[str, ...] = ()) -> Iterator[ConfigRow]:
    for field in fields(section):
        value = getattr(section, field.name)
        if field.name in skip or value is None:
            # The one None that is a setting: an NHS whose address is to be learnt.
            if field.name == "protocol":
                yield ConfigRow(path=f"{path}.protocol", value="dynamic")
            continue
        key = f"{path}.{_FILE_KEYS.get(field.name, field.name.replace('_', '-'))}"
        if isinstance(value, tuple):
            for index, item in enumerate(value):
                yield from _rows(f"{key}[{index}]", item)
        else:
            yield ConfigRow(path=key, value=_text(value))


def _text(value: Any) -> str:
    match value:
        case Secret():
            return "***"
        case bytes():
            return format_address(value)
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
