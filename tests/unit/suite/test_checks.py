"""The checks beside the tests: what they find fails the run and is shown, and they end with it."""

import time

import pytest

from tools.suite import checks

pytest_plugins = "pytester"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs a test file beside checks."""

    def run(source: str, **commands: str) -> pytest.RunResult:
        shell = {name: ["sh", "-c", command] for name, command in commands.items()}
        monkeypatch.setattr(checks, "CHECKS", shell)
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess("-p", "tools.suite.checks")

    return run


def test_a_run_passes_when_tests_and_checks_do(run) -> None:
    result = run("def test_one(): pass", lint="true", types="true")
    assert result.ret == pytest.ExitCode.OK


def test_a_check_that_fails_fails_the_run_and_is_shown(run) -> None:
    result = run("def test_one(): pass", lint="echo too long; exit 3", types="true")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*lint failed (3)*", "too long"])
    result.stdout.no_fnmatch_line("*types failed*")


def test_what_a_check_found_is_shown_while_tests_run(run) -> None:
    source = """
        import time
        def test_one(): time.sleep(0.5)
        def test_two(): pass
    """
    lines = run(source, lint="exit 1").outlines
    shown = [number for number, line in enumerate(lines) if "lint failed" in line]
    progress = next(number for number, line in enumerate(lines) if line.endswith("[100%]"))
    assert len(shown) == 2
    assert shown[0] < progress < shown[1]


def test_a_failed_test_keeps_its_status(run) -> None:
    result = run("def test_one(): assert False", lint="exit 1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1)


def test_an_interrupted_run_ends_the_checks(run) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run("def test_one(): raise KeyboardInterrupt", types="sleep 50", more="sleep 50")
    assert time.monotonic() - began < 25
