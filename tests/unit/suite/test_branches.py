"""The floor under the branches of core and packet."""

from pathlib import Path

import pytest

from tools.lab.guest import REPOSITORY
from tools.suite.branches import Module, modules

pytest_plugins = "pytester"


def of(path: str, taken: int, everything: int) -> Module:
    return Module(path, taken, everything, ())


@pytest.mark.parametrize(
    ("path", "taken", "low"),
    [
        ("nhrpd_py/core/cache.py", 95, False),
        ("nhrpd_py/core/cache.py", 94, True),
        ("nhrpd_py/core/room/deeper.py", 94, True),
        ("nhrpd_py/packet/wire.py", 0, True),
        ("nhrpd_py/runtime/app.py", 0, False),
    ],
)
def test_core_and_packet_have_a_floor(path: str, taken: int, low: bool) -> None:
    assert of(path, taken, 100).low == low


def test_a_module_without_branches_lacks_none() -> None:
    assert not of("nhrpd_py/core/effects.py", 0, 0).low


def file(taken: int, *missing: list[int]) -> dict[str, object]:
    return {"summary": {"covered_branches": taken}, "missing_branches": list(missing)}


def test_the_report_is_read(tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "c.py"):
        (tmp_path / name).touch()
    report = {"files": {"a.py": file(9, [4, 6]), "b.py": file(0), "c.py": file(1, [4, 6], [8, -1])}}
    assert modules(report, tmp_path) == [
        Module("c.py", 1, 3, ("4 → 6", "8 → -1")),
        Module("a.py", 9, 10, ("4 → 6",)),
    ]


def test_the_way_past_the_last_case_is_no_branch(tmp_path: Path) -> None:
    source = """
def sign(number):
    match number:
        case Number.PLUS:
            return 1
        case Number.MINUS:
            return -1
    return 0
"""
    (tmp_path / "a.py").write_text(source)
    report = {"files": {"a.py": file(1, [4, 6], [6, 7], [6, 8], [6, -2])}}
    assert modules(report, tmp_path) == [Module("a.py", 1, 3, ("4 → 6", "6 → 7"))]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Has one module with two branches, of which its one unit test takes one."""
    pytester.makepyprojecttoml('[tool.coverage.run]\nbranch = true\nsource = ["measured"]\n')
    pytester.makepyfile(
        **{
            "measured/__init__": "",
            "measured/module": "def sign(n):\n    if n < 0:\n        return -1\n    return 1\n",
            "unit/test_plus": """
                from measured.module import sign
                def test_plus(): assert sign(5) == 1
                def test_nothing(): pass
            """,
            "test_minus": """
                from measured.module import sign
                def test_minus(): assert sign(-5) == -1
            """,
            "measure": """
                import os
                from pathlib import Path
                from tools.suite import branches
                from tools.suite.branches import pytest_load_initial_conftests
                branches.REPOSITORY = Path.cwd()
                branches.UNIT_TESTS = Path.cwd() / "unit"
                branches.DEMANDING = ("measured/",)
                branches.FLOOR = float(os.environ["FLOOR"])
            """,
        }
    )
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return pytester


def run(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, floor: float, *arguments: str):
    """Runs the tests in a process of its own: coverage knows one working directory in each."""
    monkeypatch.setenv("FLOOR", str(floor))
    return project.runpytest_subprocess("-p", "measure", "-p", "no:cacheprovider", *arguments)


def test_a_low_module_fails_a_run_whatever_other_tests_do_with_it(project, monkeypatch) -> None:
    result = run(project, monkeypatch, 0.95)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([" *50% *1 of 2 *measured/module.py  not taken: 2 → 3"])


def test_a_module_with_enough_passes(project, monkeypatch) -> None:
    result = run(project, monkeypatch, 0.5)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([" *50% *1 of 2 *measured/module.py"])


def test_a_part_of_the_unit_tests_is_not_judged(project, monkeypatch) -> None:
    result = run(project, monkeypatch, 0.95, "--deselect=unit/test_plus.py::test_nothing")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*measured/module.py*")
