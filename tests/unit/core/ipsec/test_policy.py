"""Who may claim which tunnel address and which network."""

import pytest

from nhrpd_py.core.address import parse_address, parse_prefix
from nhrpd_py.core.config import AuthorizeConfig, Unlisted
from nhrpd_py.core.events import Association
from nhrpd_py.core.ipsec.policy import Policy
from tests.support.ipsec import a_policy, a_rule, an_association

SPOKE_3 = an_association(3)
SPOKE_4 = an_association(4)
RULE_3 = a_rule("spoke3.example", ("10.255.255.3/32",), ("172.16.3.0/24",))


def address(config: AuthorizeConfig, text: str, *who: Association) -> str | None:
    return Policy(config).address_denial(who, parse_address(text))


def network(config: AuthorizeConfig, text: str, *who: Association) -> str | None:
    return Policy(config).prefix_denial(who, parse_prefix(text))


def test_without_a_policy_everybody_may_claim_everything() -> None:
    assert not Policy(a_policy()).restricts
    assert address(a_policy(), "10.255.255.9", SPOKE_3) is None
    assert network(a_policy(), "0.0.0.0/0", SPOKE_3) is None


@pytest.mark.parametrize(
    "config", [a_policy(RULE_3), a_policy(certificate=True), a_policy(unlisted=Unlisted.DENY)]
)
def test_what_restricts(config: AuthorizeConfig) -> None:
    assert Policy(config).restricts


def test_a_rule_binds_an_identity_to_its_addresses() -> None:
    config = a_policy(RULE_3)
    assert address(config, "10.255.255.3", SPOKE_3) is None
    assert (
        address(config, "10.255.255.4", SPOKE_3)
        == "spoke3.example is not authorized for 10.255.255.4"
    )
    assert address(config, "10.255.255.4", SPOKE_4) is None  # no rule names it


def test_a_rule_binds_an_identity_to_its_networks() -> None:
    config = a_policy(RULE_3)
    assert network(config, "172.16.3.0/24", SPOKE_3) is None
    assert network(config, "172.16.3.128/25", SPOKE_3) is None
    assert network(config, "10.255.255.3/32", SPOKE_3) is None  # its own address lies behind it
    assert (
        network(config, "172.16.2.0/23", SPOKE_3)
        == "spoke3.example is not authorized for 172.16.2.0/23"
    )


def test_a_rule_without_a_list_allows_all_of_that_kind() -> None:
    assert address(a_policy(a_rule("*", None, ("172.16.3.0/24",))), "10.1.1.1", SPOKE_3) is None
    assert network(a_policy(a_rule("*", ("10.0.0.0/8",), None)), "0.0.0.0/0", SPOKE_3) is None
    networks_only = a_policy(a_rule("*", None, ("172.16.3.0/24",)))
    assert network(networks_only, "172.16.3.0/25", SPOKE_3) is None
    assert network(networks_only, "172.16.4.0/24", SPOKE_3) is not None


def test_rules_add_up() -> None:
    config = a_policy(
        a_rule("*.example", ("10.255.255.0/28",), ()), a_rule("spoke3.*", ("10.9.9.9/32",), ())
    )
    assert address(config, "10.255.255.3", SPOKE_3) is None
    assert address(config, "10.9.9.9", SPOKE_3) is None
    assert address(config, "10.9.9.9", SPOKE_4) is not None


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("spoke3.example", True),
        ("SPOKE3.EXAMPLE", True),
        ("spoke?.example", True),
        ("*.example", True),
        ("spoke3.exampl", False),
        ("spoke3xexample", False),
        ("poke3.example", False),
        ("spoke3?.example", False),
        ("(spoke3).example", False),
    ],
)
def test_patterns(pattern: str, matches: bool) -> None:
    config = a_policy(a_rule(pattern), unlisted=Unlisted.DENY)
    assert (address(config, "10.1.1.1", SPOKE_3) is None) is matches


def test_unlisted_peers_are_denied_where_that_is_said() -> None:
    config = a_policy(RULE_3, unlisted=Unlisted.DENY)
    assert address(config, "10.255.255.4", SPOKE_4) is not None
    assert address(config, "10.255.255.3", SPOKE_3) is None


def test_address_blocks_of_the_certificate() -> None:
    config = a_policy(certificate=True)
    peer = an_association(3, blocks=("10.255.255.3/32", "172.16.3.0/24"))
    assert address(config, "10.255.255.3", peer) is None
    assert network(config, "172.16.3.0/25", peer) is None
    assert (
        address(config, "10.255.255.4", peer) == "spoke3.example is not authorized for 10.255.255.4"
    )
    assert (
        address(config, "10.255.255.3", SPOKE_3)
        == "the certificate of spoke3.example has no address blocks"
    )


def test_of_several_peers_behind_one_address_all_must_be_allowed() -> None:
    config = a_policy(RULE_3, unlisted=Unlisted.DENY)
    assert address(config, "10.255.255.3", SPOKE_3, SPOKE_4) is not None
    assert address(config, "10.255.255.3", SPOKE_3, an_association(3, id=33)) is None


LISTED = a_policy(RULE_3, unlisted=Unlisted.DENY)


@pytest.mark.parametrize(
    ("config", "gateway", "prefix", "reason"),
    [
        (LISTED, "10.255.255.3", "172.16.3.0/24", None),
        (LISTED, "10.255.255.3", "10.255.255.3/32", None),
        (LISTED, "10.255.255.4", "172.16.3.0/24", "nobody is authorized for 10.255.255.4"),
        (LISTED, "10.255.255.3", "172.16.0.0/16", "nobody is authorized for 172.16.0.0/16"),
        (
            a_policy(unlisted=Unlisted.DENY),
            "10.255.255.3",
            "10.255.255.3/32",
            "nobody is authorized for 10.255.255.3",
        ),
        (a_policy(RULE_3), "10.255.255.4", "172.16.4.0/24", None),  # somebody unlisted
        (a_policy(a_rule("*"), unlisted=Unlisted.DENY), "10.255.255.4", "172.16.4.0/24", None),
        (a_policy(certificate=True), "10.255.255.4", "172.16.4.0/24", None),
    ],
)
def test_what_nobody_may_have_is_known_before_the_peer_is(config, gateway, prefix, reason) -> None:
    found = Policy(config).hopeless(parse_address(gateway), parse_prefix(prefix))
    assert found == reason
