"""Writes nhrpd.toml."""

import json
import textwrap
from collections.abc import Iterator, Mapping

from nhrpd_py import __version__
from nhrpd_py.cli.importing.defaults import DIFFERENCES, NAMES
from nhrpd_py.cli.importing.emit.output import Output
from nhrpd_py.cli.importing.node import Node, Setting, Tunnel, Value
from nhrpd_py.config.load import BARE_KEY

ORDER = (
    *(
        "network-id",
        "holding-time",
        "max-holding-time",
        "registration-interval",
        "shortcut",
        "redirect",
    ),
    *("redirect-interval", "unique", "authentication", "tunnel-source", "multicast"),
)
"""Keys of an interface in this order; others follow."""
COLUMN = 31
WIDTH = 100


def nhrpd_toml(node: Node, inputs: str, suffix: str) -> Output:
    lines = [
        f"# nhrpd.toml, made by nhrpctl import (nhrpd {__version__}) of {inputs}.",
        f"# The configuration was {NAMES[node.system]}'s. Comments name its lines.",
        "# Install as /etc/nhrpd/nhrpd.toml; `nhrpd --check` tells whether it is right.",
    ]
    tables: dict[str, dict[str, Setting]] = {}
    for (table, key), setting in node.general.items():
        tables.setdefault(table, {})[key] = setting
    for table, settings in tables.items():
        lines += ["", f"[{table}]", *_settings(settings)]
    for tunnel in node.speakers:
        lines += ["", *_interface(tunnel)]
    secret = any("authentication" in tunnel.settings for tunnel in node.speakers)
    text = "\n".join(lines) + "\n"
    return Output(f"nhrpd{suffix}.toml", "/etc/nhrpd/nhrpd.toml", text, secret)


def _interface(tunnel: Tunnel) -> Iterator[str]:
    for sentence in DIFFERENCES.values():
        yield from textwrap.wrap(
            sentence, WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False
        )
    if tunnel.netdev != tunnel.name:
        yield f"# {tunnel.netdev} was {printable(tunnel.name)}."
    name = _key(tunnel.netdev)
    yield f"[interface.{name}]"
    known = {key: tunnel.settings[key] for key in ORDER if key in tunnel.settings}
    yield from _settings({**known, **tunnel.settings})
    for server in tunnel.servers:
        settings = {
            "protocol": Setting(
                server.protocol,
                "learnt from the server's reply" if server.protocol == "dynamic" else "",
            ),
            "nbma": Setting(server.nbma, "; ".join(filter(None, (server.where, server.remark)))),
        }
        if server.priority is not None:
            settings["priority"] = Setting(server.priority, "0 is best")
        if server.cluster is not None:
            settings["cluster"] = Setting(server.cluster)
        yield from ("", f"[[interface.{name}.nhs]]", *_settings(settings))
    for binding in tunnel.bindings:
        settings = {
            "protocol": Setting(binding.protocol),
            "nbma": Setting(binding.nbma, binding.where),
        }
        yield from ("", f"[[interface.{name}.map]]", *_settings(settings))
    for table, rows in tunnel.tables.items():
        for row in rows:
            yield from ("", f"[[interface.{name}.{table}]]", *_settings(row))
    if tunnel.profile is not None:
        settings = {"profile": tunnel.profile}
        if tunnel.fallback_profile is not None:
            settings["fallback-profile"] = tunnel.fallback_profile
        yield from (
            "",
            "# The connection of swanctl.conf that protects the tunnel.",
            f"[interface.{name}.ipsec]",
            *_settings(settings),
        )


def _settings(settings: Mapping[str, Setting]) -> Iterator[str]:
    for key, setting in settings.items():
        line = f"{_key(key)} = {_value(setting.value)}"
        yield f"{line:<{COLUMN}} # {printable(setting.remark)}" if setting.remark else line


def _key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else _value(key)


def _value(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return json.dumps(value, ensure_ascii=not value.isprintable()).replace(
                "\x7f", "\\u007f"
            )
        case _:
            return f"[{', '.join(map(_value, value))}]"


def printable(text: str) -> str:
    """Returns a text that fits into a comment."""
    return "".join(c if c.isprintable() else "?" for c in text)
