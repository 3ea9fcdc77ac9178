"""Keeps pass phrases out of what people paste elsewhere: comments, reasons and errors."""

import re
from collections.abc import Collection

HIDDEN = "***"
LONGEST_LINE = 100
BEFORE_SECRETS = frozenset(
    (
        *("authentication", "cisco-authentication", "community", "encrypted-password", "key"),
        *("key-string", "md5", "password", "passwd", "passphrase", "plaintext-password"),
        *("pre-shared-key", "pre-shared-secret", "psk", "secret", "hex-key", "private-key"),
    )
)
"""Words that are followed by a secret in one system or another."""
WORD = re.compile(r"[\w$@!?*+/^~&-]+")
"""What most secrets are made of; others are looked for one by one."""


def safe(text: str, secrets: Collection[str] = ()) -> str:
    """Returns a line as it may be shown: printable, not too long, with `***` for what is secret.

    After a word that secrets follow nothing is shown, and nowhere what is known as secret.
    """
    shown: list[str] = []
    for word in text.split():
        shown.append(word)
        if word.strip("'\"").lower().rstrip("=:") in BEFORE_SECRETS:
            shown.append(HIDDEN)
            break
    line = masked(" ".join(shown), secrets)
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


def masked(text: str, secrets: Collection[str]) -> str:
    """Returns a text with `***` for each secret in it, as a word or as words."""
    for secret in secrets:
        if secret and not WORD.fullmatch(secret):
            text = text.replace(secret, HIDDEN)
    return WORD.sub(lambda found: HIDDEN if found[0] in secrets else found[0], text)
