"""tools/hook in a repository of its own: what it installs, and what it lets be committed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
GOOD = '"""The answer."""\n\nANSWER: int = 42\n'
BADLY_FORMATTED = GOOD.replace("= ", "=  ")
BADLY_TYPED = GOOD.replace("42", '"42"')


class Repository:
    """A repository with our hook, our settings and one module, nhrpd_py/answer.py."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.module = directory / "nhrpd_py/answer.py"
        # Git tells hooks where they are; these tests may run in one.
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | {
            "GIT_CONFIG_GLOBAL": str(directory.parent / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        for package in ("nhrpd_py", "tools", "tests"):
            (directory / package).mkdir(parents=True)
            (directory / package / "__init__.py").write_text('"""Something."""\n')
        shutil.copy(PROJECT / "tools/hook", directory / "tools")
        shutil.copy(PROJECT / "pyproject.toml", directory)
        self.git("init", "--quiet")
        self.git("config", "user.name", "somebody")
        self.git("config", "user.email", "somebody@example.net")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "the beginning")
        (directory / ".venv").symlink_to(sys.prefix)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def git(self, *arguments: str) -> str:
        done = self.run("git", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stage(self, text: str) -> None:
        self.module.write_text(text)
        self.git("add", str(self.module))

    def commit(self) -> subprocess.CompletedProcess[str]:
        return self.run("git", "commit", "--quiet", "--message", "something")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.mark.timeout(180)  # mypy begins without a cache
def test_what_is_staged_is_checked_and_nothing_else(repository: Repository) -> None:
    assert repository.run("tools/hook").returncode == 0

    repository.stage(BADLY_FORMATTED)
    refused = repository.commit()
    assert refused.returncode == 1
    assert "ruff format ." in refused.stderr
    assert "mypy" not in refused.stderr

    repository.stage(BADLY_TYPED)
    repository.module.write_text(GOOD)  # mended, but not staged
    refused = repository.commit()
    assert refused.returncode == 1
    assert "nhrpd_py/answer.py:3: error: Incompatible types" in refused.stderr
    assert "mypy --strict" in refused.stderr

    repository.stage(GOOD)
    repository.module.write_text(BADLY_TYPED)  # an edit that is not part of the commit
    accepted = repository.commit()
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert repository.git("show", "HEAD:nhrpd_py/answer.py") == GOOD


def test_a_commit_without_python_is_not_held_up(repository: Repository) -> None:
    repository.run("tools/hook")
    (repository.directory / ".venv").unlink()
    (repository.directory / "README.md").write_text("words\n")
    repository.git("add", "README.md")
    assert repository.commit().returncode == 0


def test_without_a_venv_it_says_how_to_get_one(repository: Repository) -> None:
    repository.run("tools/hook")
    (repository.directory / ".venv").unlink()
    repository.stage(GOOD)
    refused = repository.commit()
    assert refused.returncode == 1
    assert "run tools/bootstrap" in refused.stderr


def test_a_branch_without_the_tool_is_not_held_up(repository: Repository) -> None:
    repository.run("tools/hook")
    (repository.directory / "tools/hook").unlink()
    repository.stage(BADLY_TYPED)
    assert repository.commit().returncode == 0


def test_somebody_elses_hook_stays_and_our_own_is_renewed(repository: Repository) -> None:
    hook = repository.directory / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho mine\n")
    refused = repository.run("tools/hook")
    assert refused.returncode == 1
    assert "add this line" in refused.stderr
    assert hook.read_text() == "#!/bin/sh\necho mine\n"

    hook.unlink()
    assert repository.run("tools/hook").returncode == 0
    assert repository.run("tools/hook").returncode == 0
    assert os.access(hook, os.X_OK)


def test_it_goes_where_the_repository_keeps_its_hooks(repository: Repository) -> None:
    repository.git("config", "core.hooksPath", ".githooks")
    assert repository.run("tools/hook").returncode == 0
    assert (repository.directory / ".githooks/pre-commit").exists()


def test_hooks_of_all_repositories_are_left_alone(repository: Repository, tmp_path: Path) -> None:
    everywhere = tmp_path / "everywhere"
    repository.git("config", "--global", "core.hooksPath", str(everywhere))
    refused = repository.run("tools/hook")
    assert refused.returncode == 1
    assert "add this line" in refused.stderr
    assert not everywhere.exists()
