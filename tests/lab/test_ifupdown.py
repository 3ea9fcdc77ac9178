"""The tunnel's sample for ifupdown, as ifup reads it."""

from pathlib import Path

from tools.lab.charon import SAMPLES
from tools.lab.namespace import Namespace


def test_the_tunnel_of_ifupdown_is_one_for_us(tmp_path: Path) -> None:
    with Namespace("machine") as machine:
        machine.ip(
            "link add eth0 type dummy", "link set eth0 up", "address add 192.0.2.2/24 dev eth0"
        )

        def run(command: str) -> None:
            sample = SAMPLES / "ifupdown-gre1"
            machine.run(command, "-i", sample, f"--state-dir={tmp_path}", "gre1")

        for _ in range(2):  # also when it was there before
            run("ifup")
            (link,) = machine.ip_json("-d", "link", "show", "gre1")
            data = link["linkinfo"]["info_data"]
            assert (data["remote"], data["link"], data["ttl"]) == ("any", "eth0", 64)
            assert data["ikey"] == data["okey"] == "0.0.0.42"
            assert "UP" in link["flags"]
            (address,) = machine.ip_json("-4", "address", "show", "gre1")[0]["addr_info"]
            assert (address["local"], address["prefixlen"]) == ("10.255.255.2", 32)
            run("ifdown")
            assert machine.ip_json("link", "show", "type", "gre") == [] or all(
                each["ifname"] != "gre1" for each in machine.ip_json("link", "show", "type", "gre")
            )
