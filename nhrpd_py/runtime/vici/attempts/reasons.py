"""Finds the reason why an attempt failed in charon's log of the attempt, as a text for people.

charon's commands and events only report that an attempt failed. So the lines of its log about that
IKE_SA are read; their texts are the same from strongSwan 5.9 to 6.0.
"""

import re
from collections import OrderedDict

from nhrpd_py.core.address import Address, parse_address
from nhrpd_py.runtime.vici.wire.connection import Section, text

IKE_SA_LIMIT = 256
"""Number of IKE_SAs whose lines are kept."""
LINE_LIMIT = 40
"""Number of lines that are kept for each IKE_SA."""

# The first pattern that is found in one of the lines gives the reason.
_PATTERNS = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (
            r"certificate was revoked on ([^,]*)",
            r"the peer's certificate was revoked on \1",
        ),
        (
            r"issuer certificate invalid \((valid .*)\)",
            r"the certificate of the peer's CA is out of date (\1)",
        ),
        (
            r"certificate invalid \((valid .*)\)",
            r"the peer's certificate is out of date (\1)",
        ),
        (
            r"no issuer certificate found for (.*)",
            r"no trusted certificate of the peer: who signed \1 is not among our CAs (x509ca)",
        ),
        (
            r"no trusted .*(?:public key|certificate) found for (.*)",
            r"no trusted certificate of the peer \1: is it signed by our CA, and is its id right?",
        ),
        (
            r"constraint check failed: .*identity ('.*') required",
            r"the peer is not \1, whom the profile demands",
        ),
        (
            r"IDir ('.*') does not match to ('.*')",
            r"the peer is \1, the profile demands \2",
        ),
        (
            r"constraint check failed: (.*)|constraint requires (.*)",
            r"the peer is not whom the profile demands (\1\2)",
        ),
        (r"no private key found for (.*)", r"charon has no private key for our certificate (\1)"),
        (r"no shared key found for (.*)", r"charon has no pre-shared key for \1"),
        (r"MAC mismatched|MAC mismatch", "the pre-shared keys differ"),
        (
            r"received AUTHENTICATION_FAILED",
            "the peer refused us (AUTHENTICATION_FAILED): its log says whether certificate or id",
        ),
        (
            r"received TS_UNACCEPTABLE",
            "the peer refused the traffic selectors (TS_UNACCEPTABLE): local_ts and remote_ts differ",
        ),
        (
            r"received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built",
            "no common algorithms for ESP (NO_PROPOSAL_CHOSEN): esp_proposals differ",
        ),
        (
            r"received NO_PROPOSAL_CHOSEN|no acceptable proposal found|no matching proposal",
            "no common algorithms (NO_PROPOSAL_CHOSEN), or the peer has no connection for us",
        ),
        (
            r"received (INVALID_SYNTAX|INTERNAL_ADDRESS_FAILURE|FAILED_CP_REQUIRED|[A-Z_]+) notify error",
            r"the peer refused (\1)",
        ),
        (r"unable to install (.*)", r"the kernel refused the SA: unable to install \1"),
        (r"error writing to socket: (.*)", r"charon cannot send to the peer: \1"),
        (r"giving up after \d+ retransmits", "the peer does not answer"),
        (r"establishing IKE_SA failed, (.*)", r"\1"),
        (r"failed to establish CHILD_SA", "the CHILD_SA was refused"),
    )
)
_INITIATING = re.compile(r"initiating .*IKE_SA (?:.*)\[(\d+)\] to (\S+)")
_ANSWERED = re.compile(r"received packet|parsed IKE_")
NO_ANSWER = "the peer does not answer"


class FailureLog:
    """Keeps the last log lines of each IKE_SA that we initiate, and finds them by the peer's address."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, list[str]] = OrderedDict()
        self._remotes: dict[str, Address] = {}

    def add(self, message: Section) -> None:
        """Adds the line of one `log` event."""
        unique_id = text(message.get("ikesa-uniqueid"))
        line = text(message.get("msg"))
        if not unique_id:
            return
        initiating = _INITIATING.search(line)
        if initiating is not None:
            try:
                self._remotes[unique_id] = parse_address(initiating[2])
            except ValueError:
                return
            self._lines[unique_id] = []
            while len(self._lines) > IKE_SA_LIMIT:
                oldest, _ = self._lines.popitem(last=False)
                self._remotes.pop(oldest, None)
        lines = self._lines.get(unique_id)
        if lines is None:
            return
        lines.append(line)
        del lines[:-LINE_LIMIT]

    def reason(self, remote: Address) -> str | None:
        """Returns why the last attempt with a peer failed; None where its lines have no reason."""
        for unique_id in reversed(self._lines):
            if self._remotes.get(unique_id) == remote:
                return classify(self._lines[unique_id])
        return None

    def forget(self, remote: Address) -> None:
        """Drops the lines about a peer: a new attempt begins."""
        for unique_id in [each for each, known in self._remotes.items() if known == remote]:
            del self._remotes[unique_id]
            self._lines.pop(unique_id, None)


def classify(lines: list[str]) -> str | None:
    """Returns the reason that the lines of one attempt give, or None."""
    for pattern, reason in _PATTERNS:
        for line in reversed(lines):
            found = pattern.search(line)
            if found is not None:
                return found.expand(reason) if "\\" in reason else reason
    if lines and not any(_ANSWERED.search(line) for line in lines):
        return NO_ANSWER
    return None


# Alerts (strongSwan 6.0.3 and later) that end an attempt. cert-validation-failed is not among them: it
# comes with every certificate that has no CRL.
FATAL_ALERTS = {
    "local-auth-failed": "the peer refused us (authentication failed)",
    "peer-auth-failed": "the peer could not be authenticated",
    "proposal-mismatch-ike": "no common algorithms: proposals differ",
    "proposal-mismatch-child": "no common algorithms: esp_proposals differ",
    "ts-mismatch": "the traffic selectors do not fit: local_ts and remote_ts differ",
    "keep-on-child-sa-failure": "the CHILD_SA was refused",
    "retransmit-send-timeout": NO_ANSWER,
    "peer-init-unreachable": NO_ANSWER,
    "peer-addr-failed": "the peer's address cannot be used",
    "install-child-sa-failed": "the kernel refused the SA",
    "install-child-policy-failed": "the kernel refused the policy of the SA",
}
