"""Which kernel a guest boots: the one that was built, if it was; Debian's else."""

import subprocess

import pytest

from tools.lab import uml


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A built kernel in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(uml.KERNEL_VARIABLE, raising=False)
    path = uml.built_path()
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def debian(tmp_path, monkeypatch):
    """Debian's package, as far as a guest looks for it."""
    for name in (uml.DEBIAN_KERNEL, "insmod", "cc"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(uml, "DEBIAN_MODULES", tmp_path)
    return tmp_path / uml.DEBIAN_KERNEL


def test_the_built_kernel_is_taken_and_runs_programs_without_ptrace(built, debian):
    assert uml.find() == uml.Kernel(built, options=("seccomp=auto",))


def test_another_configuration_is_another_kernel(built, debian, tmp_path, monkeypatch):
    other = tmp_path / "kernel.config"
    other.write_text("CONFIG_64BIT=y\n")
    monkeypatch.setattr(uml, "CONFIGURATION", other)
    found = uml.find()
    assert isinstance(found, uml.Kernel)
    assert found.path == debian


def test_debians_kernel_can_be_asked_for(built, debian, monkeypatch):
    monkeypatch.setenv(uml.KERNEL_VARIABLE, "debian")
    assert uml.find() == uml.Kernel(debian, traces=True)


def test_what_is_missing_is_named(built, debian, monkeypatch):
    built.unlink()
    assert uml.missing() is None
    debian.unlink()
    assert uml.missing() == "linux.uml is not installed (Debian package user-mode-linux)"
    monkeypatch.setenv(uml.KERNEL_VARIABLE, "built")
    gone = "is not there, or not for this machine (tools/lab-kernel builds it)"
    assert uml.missing() == f"{built} {gone}"
    monkeypatch.setenv(uml.KERNEL_VARIABLE, "mine")
    assert uml.missing() == "NHRPD_LAB_KERNEL=mine: only built, debian and a path are known"


def test_a_kernel_that_cannot_be_started_here_is_passed_over(built, debian, monkeypatch):
    built.write_text("#!/bin/sh\nexit 1\n")
    assert uml.find() == uml.Kernel(debian, traces=True)


def test_a_path_names_another_built_kernel(built, debian, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv(uml.KERNEL_VARIABLE, str(other))
    assert uml.find() == uml.Kernel(other, options=("seccomp=auto",))


def test_the_tracing_kernel_gets_a_shim_on_a_wide_processor_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(uml, "_wide_xstate", lambda: True)
    compiled = []
    monkeypatch.setattr(subprocess, "run", lambda argv, **_options: compiled.append(argv))
    assert uml.Kernel(tmp_path / "a").environment(tmp_path) == {}
    assert compiled == []
    environment = uml.Kernel(tmp_path / "a", traces=True).environment(tmp_path)
    assert environment == {"LD_PRELOAD": str(tmp_path / "wide_xstate.so")}
    assert len(compiled) == 1
