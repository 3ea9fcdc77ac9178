"""Writes what goes to swanctl.conf."""

from collections.abc import Iterator

from nhrpd_py.cli.importing.emit.output import Output
from nhrpd_py.cli.importing.emit.toml import printable
from nhrpd_py.cli.importing.node import Connection, Node, Section

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:/@*%[]+")
WHY = {
    "mobike": "a peer's outer address must not move under NHRP",
    "dpd_delay": "s; how soon a silent peer is asked whether it lives",
    "unique": "a peer that comes back replaces its former self",
    "local_ts": "the outer address, and GRE alone",
    "mark_in": "marks for each SA: source-filter in nhrpd.toml",
}
COLUMN = 40


def swanctl_conf(node: Node, suffix: str) -> Output | None:
    named = {
        str(setting.value)
        for tunnel in node.speakers
        for setting in (tunnel.profile, tunnel.fallback_profile)
        if setting is not None
    }
    for name in sorted(named - node.connections.keys()):
        node.note(
            f"The connection {name} stays in swanctl.conf as it is; a stock strongSwan is enough. For "
            "source-filter its child needs two lines: mark_in = %unique and set_mark_in = %same."
        )
    used = [each for name, each in node.connections.items() if name in named]
    for name in sorted(node.connections.keys() - named):
        node.note(f"The connection {printable(name)} protects no tunnel of nhrpd: it is left out.")
    if not used:
        return None
    lines = [
        "# strongSwan, made by nhrpctl import. Install as /etc/swanctl/conf.d/dmvpn.conf, then",
        "# `swanctl --load-all`. nhrpd takes the connection as the model for those that it brings up itself.",
        "",
        "connections {",
    ]
    for each in used:
        lines += _connection(each)
    lines.append("}")
    if node.secrets:
        lines += ["", "secrets {", *_secrets(node), "}"]
    text = "\n".join(lines) + "\n"
    name = f"swanctl{suffix}.conf"
    return Output(name, "/etc/swanctl/conf.d/dmvpn.conf", text, secret=bool(node.secrets))


def _connection(connection: Connection) -> Iterator[str]:
    yield from (f"    # {printable(remark)}" for remark in connection.remarks)
    yield from _section(connection.name, connection.section, 1)


def _section(name: str, section: Section, depth: int) -> Iterator[str]:
    indent = "    " * depth
    yield f"{indent}{name} {{"
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _section(key, value, depth + 1)
        else:
            line = f"{indent}    {key} = {quoted(value)}"
            why = WHY.get(key)
            yield f"{line:<{COLUMN}} # {why}" if why else line
    yield f"{indent}}}"


def quoted(text: str) -> str:
    """Returns a value as swanctl.conf takes it: in quotes unless it is plain."""
    if text and set(text) <= PLAIN:
        return text
    return _in_quotes(text)


def _in_quotes(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _key(key: str) -> str:
    """Writes a key; what charon would take for another notation goes as octets."""
    if key.lower().startswith(("0x", "0s")):
        return f"0x{key.encode().hex()}"
    return _in_quotes(key)


def _secrets(node: Node) -> Iterator[str]:
    for number, secret in enumerate(node.secrets, 1):
        yield f"    ike-{number} {{"
        yield f"        secret = {_key(secret.key)}"
        for at, owner in enumerate(secret.owners, 1):
            yield f"        id-{at} = {quoted(owner)}"
        yield "    }"
