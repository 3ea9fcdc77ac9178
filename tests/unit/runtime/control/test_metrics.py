"""What a scrape shows of an engine that has little to tell."""

from nhrpd_py import __version__
from nhrpd_py.core.queries import View
from nhrpd_py.runtime.control.metrics import DaemonCollector, exposition
from tests.unit.runtime.fake_daemon import FakeEngine, an_interface_row


def a_scrape(engine: FakeEngine) -> list[str]:
    collector = DaemonCollector(engine.ask, lambda: {"kernel": {"ENOBUFS": 2}}, lambda: 60.0)
    return exposition(collector).decode().splitlines()


def test_an_interface_with_a_problem_is_not_ok() -> None:
    engine = FakeEngine()
    engine.rows[View.INTERFACES] = [an_interface_row(problem="no underlay")]
    assert 'nhrpd_interface_ok{interface="gre1"} 0.0' in a_scrape(engine)


def test_adapters_and_version_are_there_even_when_the_engine_has_nothing() -> None:
    engine = FakeEngine()
    engine.rows = {view: [] for view in View}
    lines = a_scrape(engine)
    assert 'nhrpd_runtime_events_total{event="ENOBUFS",part="kernel"} 2.0' in lines
    assert f'nhrpd_info{{version="{__version__}"}} 1.0' in lines


def test_shortcuts_are_counted_by_state() -> None:
    assert 'nhrpd_shortcuts{afi="ipv4",interface="gre1",state="active"} 1.0' in a_scrape(
        FakeEngine()
    )
