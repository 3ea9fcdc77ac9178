"""Why attempts failed, by the lines of charon's log."""

import pytest

from nhrpd_py.runtime.vici.attempts.reasons import classify


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["initiating IKE_SA a[1] to x", "retransmit 1 of request"], "does not answer"),
        (["received packet: from", "received AUTHENTICATION_FAILED notify error"], "refused us"),
        (["certificate was revoked on Nov 1", "constraint check failed: x"], "was revoked"),
        (["received NO_PROPOSAL_CHOSEN notify error"], "NO_PROPOSAL_CHOSEN"),
        (["received TS_UNACCEPTABLE notify, no CHILD_SA built"], "TS_UNACCEPTABLE"),
        (
            ["received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built"],
            "no common algorithms for ESP (NO_PROPOSAL_CHOSEN)",
        ),
        (
            ["no trusted ECDSA public key found for 'hub'"],
            "no trusted certificate of the peer 'hub'",
        ),
        (
            [
                'no issuer certificate found for "CN=hub"',
                "no trusted RSA public key found for 'hub'",
            ],
            'who signed "CN=hub" is not among our CAs',
        ),
        (
            [
                "subject certificate invalid (valid from Jan 01 2020 to Jan 02 2020)",
                "no trusted ECDSA public key found for 'hub'",
            ],
            "out of date (valid from Jan 01 2020 to Jan 02 2020)",
        ),
        (
            ["constraint check failed: identity 'hub' required "],
            "the peer is not 'hub', whom the profile demands",
        ),
        (["IDir 'a' does not match to 'b'"], "the peer is 'a', the profile demands 'b'"),
        (["no shared key found for 'a' - 'b'"], "no pre-shared key for 'a' - 'b'"),
        (["error writing to socket: Operation not permitted"], "Operation not permitted"),
    ],
)
def test_reasons(lines: list[str], words: str) -> None:
    assert words in (classify(lines) or "")
