"""Files that cannot be imported: each is told with its line, and nothing is made of it."""

import time

import pytest

from tests.unit.cli.importing.imports import SAMPLES, imported, of_text, refusal

GOOD = (
    "interface gre1\n ip nhrp network-id 1\n ip nhrp nhs 10.0.0.1 nbma 192.0.2.1\n"
    " tunnel protection vici profile dmvpn\n"
)
IN = "standard input: "


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "line 1: it is empty"),
        (b"\n \n\t\n", "line 1: it is empty"),
        (GOOD.encode() + b"\0", "line 5: a zero octet: it is not text (a binary or packed file?)"),
        (
            b"\x1f\x8b\x08\0\0\0\0\0",
            "line 1: a zero octet: it is not text (a binary or packed file?)",
        ),
        (
            GOOD.encode() + b" description Z\xfcrich\n",
            "line 5: it is not UTF-8: if it is Latin-1, iconv -f ISO-8859-1 -t UTF-8 makes it so",
        ),
        (
            GOOD.encode("utf-16"),
            "line 1: it is UTF-16LE, not UTF-8: iconv -f UTF-16LE -t UTF-8 standard input",
        ),
        (
            f"{GOOD} --More-- \n ip nhrp shortcut\n".encode(),
            "line 5: a pager's prompt: lines are missing here (terminal length 0, or | no-more, before show)",
        ),
        (b"x" * 70000, "line 1: it has more than 65536 characters"),
        (
            b"Dear colleague,\nplease find attached\n",
            "line 1: nothing in it is a configuration of FRR, Quagga, OpenNHRP, VyOS or Cisco IOS with NHRP",
        ),
        (
            b'{"interface": "gre1"}\n',
            "line 1: nothing in it is a configuration of FRR, Quagga, OpenNHRP, VyOS or Cisco IOS with NHRP",
        ),
        (
            b"router bgp 65000\n neighbor 10.0.0.1 remote-as 65000\n",
            "line 1: no interface in it speaks NHRP (there is no network-id)",
        ),
        (
            b"connections {\n  a {\n  }\n}\n",
            "line 1: there is no configuration of NHRP in it (swanctl alone): give that file as well",
        ),
    ],
)
def test_what_is_no_configuration_is_told_with_its_line(octets: bytes, reason: str) -> None:
    assert refusal(octets) == IN + reason


def test_a_file_that_ends_within_its_last_command_is_not_whole() -> None:
    assert refusal(GOOD + " ip nhrp holdtime") == (
        f"{IN}line 5: the file ends within a command (ip|ipv6 nhrp holdtime NUMBER)"
    )
    assert (
        of_text(GOOD + " ip nhrp shortcut").interface("gre1").shortcut
    )  # whole, without a newline


def test_another_system_than_was_told() -> None:
    ios = (SAMPLES / "ios/phase3-spoke-ikev1.conf").read_text()
    assert refusal(ios, "opennhrp") == (
        f"{IN}line 1: this is Cisco IOS's, not OpenNHRP's: leave --from out"
    )
    assert refusal("nothing at all\n", "vyos") == f"{IN}line 1: nothing in it is VyOS's"


def test_files_of_two_systems_are_refused(tmp_path) -> None:
    with pytest.raises(Exception, match="different systems: frr, ios"):
        imported(SAMPLES / "frr/hub-bgp.conf", SAMPLES / "ios/ipv6-overlay.conf")


def test_one_file_given_twice_is_refused() -> None:
    with pytest.raises(Exception, match="given twice"):
        imported("-", "-", stdin=GOOD.encode())


@pytest.mark.parametrize("name", ["no-such-file", ".", "a\0b"])
def test_what_cannot_be_read_is_told(name, tmp_path) -> None:
    with pytest.raises(Exception, match=r"No such file|Is a directory|null byte"):
        imported(f"{tmp_path}/{name}")


def test_windows_line_ends_and_a_mark_in_front_are_no_matter() -> None:
    octets = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    assert imported("-", stdin=octets).interface("gre1").network_id == 1


def test_foreign_text_cannot_leave_its_comment_or_its_string() -> None:
    """Names and words of others end up in TOML, shell and swanctl.conf: none of it is code there."""
    text = (
        "interface Tunnel0;reboot\n ip address 10.0.0.2 255.255.255.0\n ip nhrp network-id 1\n"
        ' ip nhrp authentication a"\\b\n tunnel source $(reboot)\n tunnel mode gre multipoint\n'
        " tunnel protection ipsec profile x}y{z\n"
        'crypto isakmp key "}#`id`{ address 0.0.0.0\n'
    )
    result = of_text(text, "ios")
    (name,) = result.config().interfaces
    assert name == "tunnel0-reboot"
    authentication = result.interface(name).authentication
    assert authentication is not None
    assert authentication.value == b'a"\\b'
    script = result.files["tunnel-tunnel0-reboot.sh"]
    code = [line for line in script.splitlines() if not line.startswith("#")]
    assert not any("reboot)" in line or ";" in line for line in code)
    assert '        secret = "\\"}#`id`{"\n' in result.files["swanctl.conf"]
    assert "x-y-z {" in result.files["swanctl.conf"]


@pytest.mark.parametrize("system", ["frr", "ios", "vyos", "opennhrp"])
def test_ten_thousand_lines_are_no_burden(system: str) -> None:
    """Each takes half a second of the processor; what grew with the square would take a minute."""
    lines = {
        "frr": GOOD + "".join(
            f" ip nhrp map 10.{n >> 8 & 255}.{n & 255}.{n % 200 + 1} 192.0.2.{n % 200 + 1}\n"
            for n in range(5000)
        ) + "".join(f"ip prefix-list P seq {n} permit 10.0.0.0/8\n" for n in range(5000)),
        "ios": "interface Tunnel0\n tunnel mode gre multipoint\n ip nhrp network-id 1\n"
        + "".join(f"interface Gi0/{n}\n ip address 10.1.{n % 256}.1 255.255.255.0\n" for n in range(3333))
        + "".join(f"access-list 101 permit ip host 10.0.0.{n % 256} any\n" for n in range(3333)),
        "vyos": "set protocols nhrp tunnel tun0 network-id 1\n"
        + "".join(
            f"set firewall name F rule {n} source address 10.0.{n % 256}.0/24\n" for n in range(5000)
        )
        + "".join(f"set vpn ipsec esp-group E{n} lifetime 1800\n" for n in range(5000)),
        "opennhrp": "interface gre1\n  holding-time 600\n"
        + "".join(
            f"  map 10.{n >> 8 & 255}.{n & 255}.{n % 200 + 1} 192.0.2.{n % 200 + 1}\n  # n\n" for n in range(4999)
        ),
    }  # fmt: skip
    started = time.process_time()
    of_text(lines[system])
    took = time.process_time() - started
    assert took < 5.0
