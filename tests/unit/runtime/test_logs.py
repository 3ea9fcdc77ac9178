"""What an operator reads in the log."""

import json
import os
import tempfile

import pytest
import structlog

from nhrpd_py.core.notices import NhsUp, PacketDropped
from nhrpd_py.runtime import logs
from nhrpd_py.runtime.logs import NoticeLog

UP = NhsUp(
    interface="gre1", protocol=bytes([10, 0, 0, 1]), nbma=bytes([192, 0, 2, 1]), name="hub one"
)
DROP = PacketDropped(interface="gre1", reason="bad-checksum", nbma=bytes([192, 0, 2, 1]))


@pytest.fixture(autouse=True)
def _restore_structlog():
    yield
    structlog.reset_defaults()


def written(level: str, style, *notices, at: float = 0.0) -> list[str]:
    with tempfile.TemporaryFile("w+") as out:
        logs.configure(level, style, out)
        log = NoticeLog(level)
        for notice in notices:
            log.write(notice, at)
        log.summarise(at + 10.0)
        out.seek(0)
        return out.read().splitlines()


def test_a_notice_is_one_line_of_event_and_keys(monkeypatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    (line,) = written("info", "auto", UP)
    assert line.endswith(
        ' info nhs.up interface=gre1 protocol=10.0.0.1 nbma=192.0.2.1 name="hub one"'
    )


def test_journald_gets_the_priority_and_no_second_time_stamp(tmp_path, monkeypatch) -> None:
    with (tmp_path / "journal").open("w+") as out:
        status = os.fstat(out.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure("info", "auto", out)
        NoticeLog("info").write(UP, 0.0)
        out.seek(0)
        assert out.read().startswith("<6>nhs.up interface=gre1 ")


def test_an_inherited_variable_does_not_make_a_file_the_journal(monkeypatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    (line,) = written("info", "auto", UP)
    assert " info nhs.up " in line


def test_json_is_one_object_a_line() -> None:
    (line,) = written("info", "json", UP)
    found = json.loads(line)
    assert (found["event"], found["level"], found["name"]) == ("nhs.up", "info", "hub one")
    assert "timestamp" in found


def test_what_is_below_the_level_is_not_even_formatted() -> None:
    class Unformattable(PacketDropped):
        def as_dict(self):
            raise AssertionError

    notice = Unformattable(interface="gre1", reason="x")
    assert written("info", "json", notice) == []


def test_a_flood_is_cut_short_and_its_size_told() -> None:
    lines = [json.loads(line) for line in written("debug", "json", *[DROP] * 1000)]
    assert [line["event"] for line in lines] == ["packet.dropped"] * 20 + ["notices.suppressed"]
    assert (lines[-1]["notice"], lines[-1]["count"]) == ("packet.dropped", 980)


def test_a_flood_of_one_event_does_not_hide_another() -> None:
    lines = [json.loads(line)["event"] for line in written("debug", "json", *[DROP] * 1000, UP)]
    assert "nhs.up" in lines


def test_a_traceback_stays_on_its_line(monkeypatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    with tempfile.TemporaryFile("w+") as out:
        logs.configure("info", "auto", out)
        try:
            int("first\nsecond")
        except ValueError:
            structlog.get_logger().exception("packet.failed")
        out.seek(0)
        text = out.read()
    assert text.count("\n") == 1
    assert "ValueError" in text


def test_a_reader_that_stopped_costs_lines_and_is_told_how_many() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "w") as out:
        logs.configure("info", "json", out)
        log = NoticeLog("info")
        before = logs.counters["lost"]
        for second in range(3000):  # far more than a pipe holds
            log.write(UP, float(second))
        lost = logs.counters["lost"] - before
        assert lost > 0
        while len(reader.read(65536)) == 65536:
            pass
        log.summarise(3001.0)
        told = json.loads(reader.read(65536).splitlines()[-1])
        assert (told["event"], told["level"], told["lines"]) == ("log.lost", "error", lost)


@pytest.mark.parametrize("target", ["/dev/full", "a pipe that nobody reads"])
def test_what_cannot_be_written_is_counted_and_no_error(target) -> None:
    if target == "/dev/full":
        descriptor = os.open(target, os.O_WRONLY)
    else:
        reading, descriptor = os.pipe()
        os.close(reading)
    with os.fdopen(descriptor, "w") as out:
        logs.configure("info", "auto", out)
        before = logs.counters["lost"]
        NoticeLog("info").write(UP, 0.0)
        assert logs.counters["lost"] == before + 1


@pytest.mark.parametrize("style", ["console", "json", "auto"])
def test_a_traceback_is_plain_and_shows_no_values(style) -> None:
    def fail(secret: str) -> None:
        raise ValueError("no good")

    secret = "hid" + "den"
    with tempfile.TemporaryFile("w+") as out:
        logs.configure("info", style, out)
        try:
            fail(secret)
        except ValueError:
            structlog.get_logger().exception("packet.failed")
        out.seek(0)
        text = out.read()
    assert "Traceback (most recent call last)" in text
    assert "ValueError: no good" in text
    assert "packet.failed" in text
    assert "hidden" not in text
