"""The floor under the branches of core and packet."""

import pytest

from tools.suite import branches
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


def test_the_report_is_read() -> None:
    def file(taken: int, everything: int) -> dict[str, object]:
        return {
            "summary": {"covered_branches": taken, "num_branches": everything},
            "missing_branches": [[4, 6], [8, -1]][: everything - taken],
        }

    report = {"files": {"a.py": file(9, 10), "b.py": file(0, 0), "c.py": file(1, 3)}}
    assert modules(report) == [
        Module("c.py", 1, 3, ("4 → 6", "8 → -1")),
        Module("a.py", 9, 10, ("4 → 6",)),
    ]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Has one module with two branches, of which its one unit test takes one."""
    pytester.makepyprojecttoml('[tool.coverage.run]\nbranch = true\nsource = ["measured"]\n')
    pytester.mkpydir("measured")
    pytester.path.joinpath("measured/module.py").write_text(
        "def sign(number):\n    if number < 0:\n        return -1\n    return 1\n"
    )
    unit = pytester.path / "unit"
    unit.mkdir()
    (unit / "test_module.py").write_text(
        "from measured.module import sign\n\ndef test_plus(): assert sign(5) == 1\n"
        "def test_nothing(): pass\n"
    )
    pytester.path.joinpath("test_other.py").write_text(
        "from measured.module import sign\n\ndef test_minus(): assert sign(-5) == -1\n"
    )
    pytester.syspathinsert()
    monkeypatch.setattr(branches, "UNIT_TESTS", unit)
    monkeypatch.setattr(branches, "DEMANDING", ("measured/",))
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_inprocess("-p", "tools.suite.branches", *arguments)


def test_a_low_module_fails_a_run_whose_tests_pass(project: pytest.Pytester) -> None:
    """Whatever other tests do with it."""
    result = run(project)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([" *50% *1 of 2 *measured/module.py  not taken: 2 → 3"])


def test_a_module_with_enough_passes(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branches, "FLOOR", 0.5)
    result = run(project)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([" *50% *1 of 2 *measured/module.py"])


@pytest.mark.parametrize(
    "arguments", [["-k", "plus or minus"], ["test_other.py"], ["--deselect=unit/test_module.py"]]
)
def test_a_part_of_the_unit_tests_is_not_judged(
    project: pytest.Pytester, arguments: list[str]
) -> None:
    result = run(project, *arguments)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*measured/module.py*")
