"""Loads our connections into charon, as far as it knows their keys."""

from nhrpd_py.runtime.vici.profiles.profile import without_marks
from nhrpd_py.runtime.vici.wire.connection import CommandChannel, Section, ViciRefusedError


async def load_connection(commands: CommandChannel, name: str, message: Section) -> None:
    """Loads a connection; without marks into a charon that does not know `set_mark_in`. Raises ViciError."""
    try:
        await commands.request("load-conn", {name: message})
    except ViciRefusedError as error:
        plain = without_marks(message)
        if plain is None or "mark" not in str(error):
            raise
        await commands.request("load-conn", {name: plain})
