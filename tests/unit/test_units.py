"""The unit files of systemd/: what two of them share is written twice and must stay the same."""

from pathlib import Path

UNITS = Path(__file__).resolve().parents[2] / "systemd"
OF_AN_INSTANCE = {
    "NetworkNamespacePath": "/run/netns/%i",
    "BindReadOnlyPaths": (
        "-/etc/netns/%i/resolv.conf:/etc/resolv.conf -/etc/netns/%i/hosts:/etc/hosts"
    ),
}
"""Settings that only the template has."""


def settings(name: str) -> list[tuple[str, str]]:
    lines = (UNITS / name).read_text().splitlines()
    return [
        (key, value) for key, equals, value in (line.partition("=") for line in lines) if equals
    ]


def test_the_template_is_the_unit_with_paths_of_its_own() -> None:
    shared = [
        (key, value.replace(" in network namespace %i", "").replace("/%i", "/nhrpd"))
        for key, value in settings("nhrpd@.service")
        if OF_AN_INSTANCE.get(key) != value
    ]
    expected = [
        (key, f"{value}/nhrpd" if key in {"StateDirectory", "RuntimeDirectory"} else value)
        for key, value in settings("nhrpd.service")
        if key != "RuntimeDirectoryPreserve"
    ]
    expected = [
        (key, value.replace("%t/nhrpd/nhrpd.sock", "%t/nhrpd/nhrpd/nhrpd.sock"))
        for key, value in expected
    ]
    assert shared == expected


def test_a_crash_leaves_no_core_with_the_secrets_in_it() -> None:
    assert ("LimitCORE", "0") in settings("nhrpd.service")
