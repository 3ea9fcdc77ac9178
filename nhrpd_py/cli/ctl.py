"""The command `nhrpctl`: shows and steers a running daemon.

Exit 0 done, 1 refused or nothing matched, 2 wrong usage, 3 no daemon. It is synchronous and imports
little, so that a script can call it often.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from nhrpd_py import __version__
from nhrpd_py.cli.client import Client, NoDaemonError, RefusedError, WrongUsageError
from nhrpd_py.cli.tables import TABLES
from nhrpd_py.paths import CONFIG_FILE, CONTROL_SOCKET

REFUSED = 1
WRONG_USAGE = 2
NO_DAEMON = 3

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _remember_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.meta["json"] = True


def json_option(command: Decorated) -> Decorated:
    """Adds `--json`, which people may write before or after the command."""
    option = click.option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_remember_json,
        help="Print JSON instead of text.",
    )
    return option(command)


interface_option = partial(click.option, "-i", "--interface", metavar="IFACE")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-s",
    "--socket",
    metavar="PATH",
    default=CONTROL_SOCKET,
    envvar="NHRPD_SOCKET",
    show_default=True,
    show_envvar=True,
    help="The daemon's control socket.",
)
@json_option
@click.version_option(__version__, prog_name="nhrpctl", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, socket: str) -> None:
    """Show and steer nhrpd, the NHRP daemon of a Linux DMVPN.

    Exits with 0 when done, 1 when refused or nothing matched, 2 on wrong usage, 3 without a daemon.
    """
    context.meta["client"] = Client(socket)
    given = context.get_parameter_source("socket") is not ParameterSource.DEFAULT
    context.meta["socket"] = socket if given else None


def _client(context: click.Context) -> Client:
    client: Client = context.meta["client"]
    return client


def _as_json(context: click.Context) -> bool:
    return bool(context.meta.get("json"))


@cli.command()
@click.argument("view", metavar="VIEW", type=click.Choice(list(TABLES)))
@interface_option(help="Only this interface.")
@json_option
@click.pass_context
def show(context: click.Context, view: str, interface: str | None) -> None:
    """Show one of the daemon's tables.

    \b
    cache       the outer (NBMA) address of each tunnel address
    nhs         our next hop servers (hubs) and our registration with each
    shortcuts   direct ways to what lies behind other spokes
    interfaces  our tunnels and what is wrong with them
    peers       the outer addresses that we exchange packets with, and IPsec
    sas         the IPsec security associations that charon has with them
    traffic     NHRP packets by type, and dropped ones by reason
    problems    what is wrong at present, and why
    probes      whether direct paths to other spokes carry, in numbers
    routes      the routes that the daemon wants in the kernel
    config      the configuration in force

    Words and flags are explained below each table.
    """
    document = _client(context).get(f"/v1/{view}", interface=interface)
    if _as_json(context):
        _print_json(document)
        return
    from nhrpd_py.cli import render  # noqa: PLC0415 (--json does not need it)

    with _understood():
        render.show(view, document[view])


@cli.command()
@click.argument(
    "what",
    metavar="[cache|shortcuts|all]",
    type=click.Choice(["cache", "shortcuts", "all"]),
    default="all",
)
@interface_option(help="Only what belongs to this interface.")
@click.option(
    "--protocol",
    metavar="PREFIX",
    help="Only addresses and networks within this prefix, or around it.",
)
@click.option("--nbma", metavar="ADDR", help="Only what leads to this outer (NBMA) address.")
@json_option
@click.pass_context
def flush(
    context: click.Context, what: str, interface: str | None, protocol: str | None, nbma: str | None
) -> None:
    """Forget what was learnt; it is learnt anew when it is needed.

    \b
    cache       resolved addresses, and clients that registered here: they are
                asked to register again, and we register anew with our servers
    shortcuts   direct ways, what was resolved for them, and failures
    all         everything that was learnt, which is the default

    What the configuration says stays.
    """
    client = _client(context)
    _report(
        context,
        client.post("/v1/flush", what=what, interface=interface, protocol=protocol, nbma=nbma),
    )


@cli.command()
@click.argument("address")
@interface_option(help="Ask through this interface.")
@json_option
@click.pass_context
def resolve(context: click.Context, address: str, interface: str | None) -> None:
    """Ask for the direct way to ADDRESS.

    The daemon asks as if traffic for ADDRESS had been redirected, and does not wait for the answer:
    see `nhrpctl show shortcuts`. Where the way is known already, it says so.
    """
    _report(context, _client(context).post("/v1/resolve", address=address, interface=interface))


@cli.command()
@json_option
@click.pass_context
def reload(context: click.Context) -> None:
    """Have the daemon read its configuration file again.

    Returns when the new configuration is in force, and prints what changed. A file with mistakes is
    refused: every one is printed, and the daemon goes on with what it has.
    """
    answer = _client(context).post("/v1/reload")
    if _as_json(context):
        _print_json(answer)
    else:
        for line in answer["problems"]:
            click.echo(line, err=True)
        for setting in answer["restart"]:
            click.echo(f"{setting}: changes with the next start of the daemon", err=True)
        for line in answer["changes"] or ([] if answer["problems"] else ["nothing changed"]):
            click.echo(line)
    if answer["problems"]:
        context.exit(REFUSED)


@cli.command()
@json_option
@click.pass_context
def monitor(context: click.Context) -> None:
    """Print what happens, as it happens, until interrupted.

    A line for each event; with --json, an object on a line. Exits with 3 when the daemon goes away.
    """
    from nhrpd_py.cli import render  # noqa: PLC0415

    write = json.dumps if _as_json(context) else render.notice
    try:
        for row in _client(context).lines("/v1/monitor"):
            with _understood():
                text = write(row)
            click.echo(text)
    except KeyboardInterrupt:
        return
    raise NoDaemonError("the daemon went away")


@cli.command()
@click.option(
    "-c",
    "--config",
    "file",
    metavar="FILE",
    help="The configuration to check against [default: that of the running daemon, else "
    f"{CONFIG_FILE}].",
)
@click.option("--all", "everything", is_flag=True, help="Also list what is right.")
@json_option
@click.pass_context
def check(context: click.Context, file: str | None, everything: bool) -> None:
    """Inspect this machine for all that a DMVPN needs.

    Says what is wrong and what mends it: a command, or a line for a file. Works without a running
    daemon, and without being root as far as the kernel lets. Exits with 1 when something is wrong.
    """
    from nhrpd_py.cli.check import report  # noqa: PLC0415 (other commands need none of it)
    from nhrpd_py.cli.check.read import reader  # noqa: PLC0415
    from nhrpd_py.core.config import ConfigError  # noqa: PLC0415

    try:
        facts = reader.read_facts(context.meta["socket"], file)
    except ConfigError as error:
        raise WrongUsageError("\nnhrpctl: ".join(error.problems)) from None
    found = list(report.findings(facts))
    if _as_json(context):
        click.echo(report.as_json(found))
    else:
        report.write(found, everything=everything)
    if report.failed(found):
        context.exit(REFUSED)


@cli.command(name="import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--from",
    "told",
    type=click.Choice(["frr", "quagga", "opennhrp", "vyos", "ios"]),
    help="Whose configuration it is [default: found out].",
)
@click.option(
    "--tunnel",
    type=click.Choice(["ifupdown", "networkd", "ip"]),
    help="What makes the tunnel's netdev [default: ifupdown where it did, else ip].",
)
@click.option("--output", metavar="DIR", help="Write files into this directory [default: print].")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.pass_context
def import_(
    context: click.Context,
    files: tuple[str, ...],
    told: str | None,
    tunnel: str | None,
    output: str | None,
    force: bool,
) -> None:
    """Make nhrpd's configuration of another system's.

    Reads vtysh configurations of FRR and Quagga, opennhrp.conf, VyOS (set commands or config.boot) and
    running configurations of Cisco IOS; beside them swanctl.conf, /etc/network/interfaces, scripts.
    `-` is standard input. Makes nhrpd.toml, the tunnel, what goes to swanctl.conf, the firewall rule and
    routing, and says of each line that could not be carried over why not.
    """
    from nhrpd_py.cli.importing import command  # noqa: PLC0415 (other commands need none of it)

    if _as_json(context):
        raise WrongUsageError("import makes files: there is no JSON of them")

    try:
        command.run(files, told, tunnel, output, force=force)
    except command.InputError as error:
        raise WrongUsageError(str(error)) from None
    except command.RefusedToWriteError as error:
        raise RefusedError(str(error)) from None


def _report(context: click.Context, answer: dict[str, Any]) -> None:
    """Prints what became of a command, and makes it the exit status."""
    with _understood():
        matched, refused, detail = answer["matched"], answer["refused"], answer["detail"]
    if _as_json(context):
        _print_json(answer)
    elif refused is None:
        click.echo(detail or f"{matched} matched")
    if refused is not None:
        raise RefusedError(refused)
    if matched == 0:
        context.exit(REFUSED)


@contextmanager
def _understood() -> Iterator[None]:
    """Turns the errors of code that reads an answer into NoDaemonError.

    The answer may be from a daemon of another version, or from no nhrpd at all.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise NoDaemonError(f"this is not an answer of nhrpd {__version__} ({what})") from error


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document))


def main() -> None:
    """Runs the command; turns what can go wrong into one line and an exit status."""
    if sys.stdout is None:  # the caller closed it and wants the exit status alone
        sys.stdout = io.StringIO()
    elif isinstance(
        sys.stdout, io.TextIOWrapper
    ):  # a locale that lacks a character is no reason to end
        sys.stdout.reconfigure(errors="replace")
    try:
        cli(prog_name="nhrpctl")
    except WrongUsageError as error:
        _end(str(error), WRONG_USAGE)
    except RefusedError as error:
        _end(str(error), REFUSED)
    except NoDaemonError as error:
        _end(str(error), NO_DAEMON)
    except OSError as error:
        _end(f"cannot write: {error.strerror or error}", REFUSED)


def _end(reason: str, status: int) -> None:
    click.echo(f"nhrpctl: {reason}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
