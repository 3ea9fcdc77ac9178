"""The configuration in force, as rows."""

from nhrpd_py.core.config import Config, DaemonConfig, Secret
from nhrpd_py.core.config_rows import config_rows
from tests.support.sites import SECRET, a_map, an_interface, an_nhs, nbma, tunnel


def a_config() -> Config:
    interface = an_interface(
        authentication=SECRET,
        nhs=(an_nhs("hub1.example.net"), an_nhs("192.168.100.1", tunnel(1), priority=5)),
        maps=(a_map(tunnel(9), nbma(9)),),
        redirect=True,
    )
    return Config(
        daemon=DaemonConfig(control_group="nhrp"),
        interfaces={"gre1": interface, "gre2": an_interface("gre2")},
    )


def rows(interface: str | None = None) -> dict[str, str]:
    return {row.path: row.value for row in config_rows(a_config(), interface)}


def test_rows_have_the_keys_and_values_of_the_file() -> None:
    found = rows()
    assert found["daemon.control-socket"] == "/run/nhrpd/nhrpd.sock"
    assert found["daemon.control-group"] == "nhrp"
    assert found["nflog.redirect-group"] == "1"
    assert found["routes.metric"] == "10"
    assert found["interface.gre1.holding-time"] == "60"
    assert found["interface.gre1.redirect"] == "true"
    assert found["interface.gre1.unique"] == "false"
    assert found["interface.gre1.nhs[0].protocol"] == "dynamic"
    assert found["interface.gre1.nhs[1].protocol"] == "10.255.255.1"
    assert found["interface.gre1.map[0].nbma"] == "192.168.100.9"


def test_secrets_are_not_shown() -> None:
    assert rows()["interface.gre1.authentication"] == "***"
    assert "secret" not in " ".join(rows().values())
    assert "secret" not in repr(Secret(b"secret"))


def test_rows_of_one_interface_are_only_its_own() -> None:
    assert {path.split(".")[1] for path in rows("gre2")} == {"gre2"}
    assert rows("gre9") == {}
