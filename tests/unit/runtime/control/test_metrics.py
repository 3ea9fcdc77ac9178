"""What a scrape shows of an engine that has little to tell."""

from nhrpd_py import __version__
from nhrpd_py.core.queries import View
from nhrpd_py.core.rows import TrafficRow
from nhrpd_py.runtime.control.metrics import DaemonCollector, exposition
from tests.unit.runtime.control.api_client import curl
from tests.unit.runtime.fake_daemon import FakeEngine, a_cache_row, a_daemon, an_interface_row


def a_scrape(engine: FakeEngine) -> list[str]:
    collector = DaemonCollector(engine.ask, lambda: {"kernel": {"ENOBUFS": 2}}, lambda: 60.0)
    return exposition(collector).decode().splitlines()


def test_an_interface_with_a_problem_is_not_ok() -> None:
    engine = FakeEngine()
    engine.rows[View.INTERFACES] = [an_interface_row(problem="no underlay")]
    assert 'nhrpd_interface_ok{interface="gre1"} 0.0' in a_scrape(engine)


def test_wrong_sources_are_counted() -> None:
    engine = FakeEngine()
    engine.rows[View.INTERFACES] = [an_interface_row(wrong_sources=7)]
    assert 'nhrpd_wrong_sources_total{interface="gre1"} 7.0' in a_scrape(engine)


def test_multicast_is_counted() -> None:
    engine = FakeEngine()
    engine.rows[View.INTERFACES] = [
        an_interface_row(multicast_targets=2, multicast_packets=5, multicast_copies=10)
    ]
    lines = a_scrape(engine)
    assert 'nhrpd_multicast_targets{interface="gre1"} 2.0' in lines
    assert 'nhrpd_multicast_packets_total{interface="gre1"} 5.0' in lines
    assert 'nhrpd_multicast_copies_total{interface="gre1"} 10.0' in lines


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


def test_problems_are_counted_by_kind_and_losses_by_reason() -> None:
    engine = FakeEngine()
    engine.rows[View.INTERFACES] = [an_interface_row(sa_bytes_in=800, sa_bytes_out=900)]
    engine.rows[View.TRAFFIC] = [
        TrafficRow(
            interface="gre1", afi=None, direction=direction, type="no-route", packets=packets
        )
        for direction, packets in (("undelivered", 4), ("lost", 7))
    ]
    lines = a_scrape(engine)
    assert 'nhrpd_problems{afi="ipv4",interface="gre1",kind="server-lost"} 1.0' in lines
    assert 'nhrpd_undelivered_total{interface="gre1",reason="no-route"} 4.0' in lines
    assert 'nhrpd_tunnel_lost_total{interface="gre1",reason="no-route"} 7.0' in lines
    assert 'nhrpd_sa_bytes_total{direction="in",interface="gre1"} 800.0' in lines
    assert 'nhrpd_sa_bytes_total{direction="out",interface="gre1"} 900.0' in lines


def test_probes_have_a_histogram() -> None:
    lines = a_scrape(FakeEngine())
    assert 'nhrpd_probes_total{afi="ipv4",interface="gre1",result="failed"} 1.0' in lines
    labels = 'afi="ipv4",interface="gre1"'
    assert f'nhrpd_probe_rtt_seconds_bucket{{{labels},le="0.1"}} 7.0' in lines
    assert f'nhrpd_probe_rtt_seconds_bucket{{{labels},le="+Inf"}} 8.0' in lines
    assert f"nhrpd_probe_rtt_seconds_sum{{{labels}}} 0.1" in lines


async def test_metrics_are_prometheus_text(path) -> None:
    async with a_daemon(path) as daemon:
        daemon.engine.rows[View.CACHE] = [a_cache_row(n) for n in range(3)]
        status, body = await curl(path, "GET", "/metrics")
        lines = body.decode().splitlines()
        assert status == 200
        assert (
            'nhrpd_packets_total{afi="ipv4",direction="sent",interface="gre1",type="purge"} 3.0'
            in lines
        )
        assert 'nhrpd_drops_total{interface="gre1",reason="bad-checksum"} 9.0' in lines
        assert 'nhrpd_cache_entries{afi="ipv4",interface="gre1",type="dynamic"} 3.0' in lines
        assert 'nhrpd_nhs{afi="ipv4",interface="gre1",state="probe"} 1.0' in lines
        assert 'nhrpd_interface_ok{interface="gre1"} 1.0' in lines
        assert 'nhrpd_runtime_events_total{event="received",part="packets"} 7.0' in lines
        assert "nhrpd_uptime_seconds 12.5" in lines
