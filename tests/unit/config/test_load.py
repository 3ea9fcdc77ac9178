"""What an operator is told about a configuration file."""

import pytest

from nhrpd_py.config.load import load, parse
from nhrpd_py.core.config import Config, ConfigError, MapConfig, NhsConfig
from tests.unit.config.files import GRE, complaints


def test_a_complete_file_becomes_the_configuration() -> None:
    config = parse(
        """
        [daemon]
        control-socket = "/run/x.sock"
        state-directory = "/tmp/state"
        log-level = "debug"
        [nflog]
        redirect-group = 7
        [routes]
        protocol = 201
        metric = 20
        [interface.gre1]
        network-id = 4294967295
        holding-time = 65535
        max-holding-time = 65535
        overlay = ["10.255.255.0/24", "fd00:ff::/64"]
        authenticated-purge = true
        tunnel-source = "br0"
        shortcut = true
        redirect = true
        unique = true
        authentication = "secret"
        [[interface.gre1.nhs]]
        protocol = "dynamic"
        nbma = "hub1.example.net"
        priority = 255
        cluster = 3
        [[interface.gre1.nhs]]
        protocol = "10.255.255.1"
        nbma = "192.0.2.1"
        [[interface.gre1.map]]
        protocol = "10.255.255.9"
        nbma = "192.0.2.9"
        """,
        "f",
    )
    gre = config.interfaces["gre1"]
    assert config.daemon.control_socket == "/run/x.sock"
    assert config.daemon.state_directory == "/tmp/state"
    assert config.daemon.log_level == "debug"
    assert (config.nflog.redirect_group, config.routes.protocol, config.routes.metric) == (
        7,
        201,
        20,
    )
    assert (gre.name, gre.network_id, gre.holding_time_s) == ("gre1", 4294967295, 65535)
    assert (gre.max_holding_time_s, gre.authenticated_purge) == (65535, True)
    assert list(map(str, gre.overlay)) == ["10.255.255.0/24", "fd00:ff::/64"]
    assert (gre.tunnel_source, gre.shortcut, gre.redirect, gre.unique) == ("br0", True, True, True)
    assert gre.authentication is not None
    assert gre.authentication.value == b"secret"
    assert gre.nhs == (
        NhsConfig(protocol=None, nbma="hub1.example.net", priority=255, cluster=3),
        NhsConfig(protocol=bytes([10, 255, 255, 1]), nbma="192.0.2.1"),
    )
    assert gre.maps == (MapConfig(protocol=bytes([10, 255, 255, 9]), nbma=bytes([192, 0, 2, 9])),)


def test_everything_left_out_has_the_documented_default() -> None:
    config = parse(GRE, "f")
    assert (config.daemon, config.nflog, config.routes) == (
        Config().daemon,
        Config().nflog,
        Config().routes,
    )
    assert config.interfaces["gre1"].holding_time_s == 600


NHS = GRE + "[[interface.gre1.nhs]]\n"
MAP = GRE + "[[interface.gre1.map]]\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "interface: is missing: at least one [interface.NAME] is needed"),
        ("a = \n", "line 1, column 5: Invalid value"),
        ('x = "', "end of document: Unterminated string"),
        ("[interface.gre1]\n", "interface.gre1.network-id: is missing"),
        (GRE + "holding-tme = 60", "holding-tme: unknown key; did you mean holding-time?"),
        (GRE + "holding_time = 60", "holding_time: unknown key; did you mean holding-time?"),
        (
            GRE + "colour = 1",
            "colour: unknown key; known here: authenticated-purge, authentication, authorize",
        ),
        (GRE + "holding-time = 2", "holding-time: must be 3..65535, not 2"),
        (GRE + "holding-time = 65536", "holding-time: must be 3..65535, not 65536"),
        (
            GRE + "holding-time = 7201",
            "holding-time: is more than max-holding-time, which is 7200",
        ),
        (
            GRE + "holding-time = 61\nmax-holding-time = 60",
            "holding-time: is more than max-holding-time, which is 60",
        ),
        (GRE + "max-holding-time = 2", "max-holding-time: must be 3..65535, not 2"),
        (GRE + "overlay = '10.0.0.0/8'", "overlay: must be an array such as"),
        (GRE + "overlay = ['10.0.0.1/8']", "overlay[0]: '10.0.0.1/8' has host bits set"),
        (
            GRE + "authenticated-purge = true",
            "authenticated-purge: needs authentication: a pass phrase that clients know",
        ),
        (GRE + "holding-time = '60'", "holding-time: must be a whole number, not '60'"),
        (GRE + "holding-time = 6.5", "holding-time: must be a whole number, not 6.5"),
        (GRE + "shortcut = 1", "shortcut: must be true or false, not 1"),
        (GRE + "tunnel-source = true", "tunnel-source: must be a string, not true"),
        (GRE + "nhs = 3", "nhs: must be an array of tables, [[interface.gre1.nhs]]"),
        ("interface = 3", "interface: must be a table, [interface]"),
        ("[interface]\ngre1 = 3", "interface.gre1: must be a table, [interface.gre1]"),
        ("[interface.gre1]\nnetwork-id = 0", "network-id: must be 1..4294967295, not 0"),
        (
            '[interface."gre.1/2"]\nnetwork-id = 1',
            "interface.\"gre.1/2\": 'gre.1/2' cannot name an interface",
        ),
        (
            "[interface.a-name-too-long-1]\nnetwork-id = 1",
            "an interface name has 1..15 octets",
        ),
        (NHS + "protocol='dynamic'", "interface.gre1.nhs[0].nbma: is missing"),
        (NHS + "protocol='dynamc'\nnbma='h'", "'dynamc' is not an IPv4 or IPv6 address"),
        (NHS + "protocol='10.0.0.300'\nnbma='h'", "'10.0.0.300' is not an IPv4 or IPv6 address"),
        (NHS + "protocol='dynamic'\nnbma='192.0.2'", "'192.0.2' is not an IPv4 or IPv6 address"),
        (NHS + "protocol='dynamic'\nnbma='a b'", "'a b' is neither an address nor a host name"),
        (NHS + "protocol='dynamic'\nnbma=''", "'' is neither an address nor a host name"),
        (
            NHS + "protocol='dynamic'\nnbma='224.0.0.1'",
            "'224.0.0.1' cannot be the address of one station of the network",
        ),
        (NHS + "protocol='dynamic'\nnbma='h'\npriority=256", "priority: must be 0..255, not 256"),
        (MAP + "protocol='fe80::1'\nnbma='192.0.2.1'", "'fe80::1' cannot be the address of one"),
        (MAP + "protocol='10.0.0.1'\nnbma='host'", "nbma: 'host' is not an IPv4 or IPv6 address"),
        ("[routes]\nprotocol=42", "routes.protocol: 42 is the route protocol of babeld"),
        ("[routes]\nprotocol=4", "routes.protocol: 4 is the route protocol of static routes"),
        ("[routes]\nprotocol=186", "186 is the route protocol of a routing daemon"),
        ("[routes]\nprotocol=199", "199 is the route protocol of a routing daemon"),
        ("[routes]\nprotocol=256", "routes.protocol: must be 1..255, not 256"),
        ("[nflog]\nredirect-group=0", "nflog.redirect-group: must be 1..65535, not 0"),
        (
            "[daemon]\nlog-level='loud'",
            "daemon.log-level: must be debug, info, warning or error, not 'loud'",
        ),
        ("[daemon]\ncontrol-socket='x'", "control-socket: must be an absolute path, not 'x'"),
        (
            f"[daemon]\ncontrol-socket='/{'x' * 107}'",
            "a socket's path has at most 107 octets, this one 108",
        ),
        (
            '[daemon]\ncontrol-group="a\\u0000b"',
            "daemon.control-group: this machine has no group 'a\\x00b'",
        ),
        (GRE + '"a\\nb" = 1', 'interface.gre1."a\\nb": unknown key'),
        (
            "[daemon]\ncontrol-group='no-such-group-here'",
            "daemon.control-group: this machine has no group 'no-such-group-here'",
        ),
    ],
)
def test_each_mistake_is_named_with_its_path(text: str, complaint: str) -> None:
    assert any(complaint in line for line in complaints(text)), complaints(text)


def test_every_mistake_is_told_at_once() -> None:
    lines = complaints(
        "[routes]\nprotocol = 42\n[interface.gre1]\nholding-time = 1\n[interface.gre2]\n"
        "network-id = 1\nnhs = [{protocol = 'dynamic', nbma = 'h'}, "
        "{protocol = 'dynamic', nbma = 'H.'}]\n"
    )
    assert lines == [
        "f: routes.protocol: 42 is the route protocol of babeld; choose another",
        "f: interface.gre1.network-id: is missing",
        "f: interface.gre1.holding-time: must be 3..65535, not 1",
        "f: interface.gre2.nhs[1]: is the same server as nhs[0]",
    ]


def test_an_address_mapped_twice_is_refused_whatever_its_spelling() -> None:
    lines = complaints(
        MAP + "protocol = '2001:db8::1'\nnbma = '192.0.2.1'\n"
        "[[interface.gre1.map]]\nprotocol = '2001:db8:0::1'\nnbma = '192.0.2.2'\n"
    )
    assert lines == ["f: interface.gre1.map[1].protocol: is mapped by map[0] already"]


def test_one_tunnel_cannot_have_two_underlays() -> None:
    lines = complaints(
        NHS + "protocol = 'dynamic'\nnbma = '192.0.2.1'\n"
        "[[interface.gre1.map]]\nprotocol = '10.0.0.1'\nnbma = '2001:db8::1'\n"
    )
    assert lines == [
        "f: interface.gre1.map[0].nbma: is IPv6, but nhs[0].nbma is IPv4: a tunnel has one underlay"
    ]


@pytest.mark.parametrize("secret", ["hunter2hunter2", "", "h\\tunter2", "hünter2"])
def test_a_bad_secret_is_refused_without_being_shown(secret: str) -> None:
    (line,) = complaints(GRE + f'authentication = "{secret}"')
    assert line.startswith("f: interface.gre1.authentication: must ")
    assert "unter2" not in line


def test_a_secret_of_a_wrong_type_is_not_shown_either() -> None:
    (line,) = complaints(GRE + "authentication = 12345678")
    assert line == "f: interface.gre1.authentication: must be a string"


def test_the_configuration_does_not_show_its_secret() -> None:
    assert "hunter2" not in repr(parse(GRE + 'authentication = "hunter2"', "f"))


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "absent.toml")
    assert caught.value.problems == [f"{tmp_path}/absent.toml: No such file or directory"]


def test_a_file_that_is_not_text_is_one_clear_line(tmp_path) -> None:
    (tmp_path / "bad.toml").write_bytes(b"# \xff")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "bad.toml")
    assert caught.value.problems == [f"{tmp_path}/bad.toml: octet 3: is not UTF-8"]


def test_a_byte_order_mark_is_skipped(tmp_path) -> None:
    path = tmp_path / "nhrpd.toml"
    path.write_text(GRE, encoding="utf-8-sig")
    assert list(load(path).interfaces) == ["gre1"]


@pytest.mark.parametrize(
    "text", [f"{GRE}holding-time = {'[' * 5000}{']' * 5000}\n", f"[{'.'.join('a' * 5000)}]\n"]
)
def test_bottomless_nesting_is_a_complaint(text) -> None:
    assert complaints(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"{GRE}holding-time = {'9' * 5000}", "f: a number has more than 64 bits"),
        (
            f"{GRE}holding-time = 0x{'f' * 5000}",
            "f: interface.gre1.holding-time: a number has more than 64 bits",
        ),
        (
            f"{GRE}[profile.dmvpn]\nlocal.certs = [1, 0x{'f' * 5000}]",
            "f: profile.dmvpn.local.certs[1]: a number has more than 64 bits",
        ),
    ],
)
def test_a_number_that_python_does_not_print_is_a_complaint(text, complaint) -> None:
    assert complaints(text) == [complaint]


def test_in_a_profile_true_is_yes_in_lists_too() -> None:
    assert parse(GRE + "[profile.dmvpn]\nx = [true, 1]", "f").profiles["dmvpn"]["x"] == ("yes", "1")


@pytest.mark.parametrize("name", ["gre1\\u0000", "gre\\u001b[31m"])
def test_what_cannot_be_printed_is_no_interface_name(name) -> None:
    (complaint,) = complaints(f'[interface."{name}"]\nnetwork-id = 1\n')
    assert "cannot name an interface" in complaint


def test_under_systemd_the_paths_default_to_the_directories_it_made(monkeypatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/nhrpd/spoke1:/run/other")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/nhrpd/spoke1")
    interface = "[interface.gre1]\nnetwork-id = 1\n"
    config = parse(interface, "f")
    assert config.daemon.control_socket == "/run/nhrpd/spoke1/nhrpd.sock"
    assert config.daemon.state_directory == "/var/lib/nhrpd/spoke1"
    config = parse(f'[daemon]\ncontrol-socket = "/x"\n{interface}', "f")
    assert config.daemon.control_socket == "/x"
