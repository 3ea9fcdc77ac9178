"""Snapshots of the engine's state as rows for people and programs. Reads everything, changes nothing."""

from collections.abc import Iterator

from nhrpd_py.core.base.outbox import Outbox
from nhrpd_py.core.config import Config
from nhrpd_py.core.config_rows import config_rows
from nhrpd_py.core.instance.instance import Instance
from nhrpd_py.core.instance.tunnels import Tunnels
from nhrpd_py.core.queries import Query, View
from nhrpd_py.core.rows import (
    Row,
)
from nhrpd_py.core.views.cache import cache_rows
from nhrpd_py.core.views.interfaces import interface_row
from nhrpd_py.core.views.nhs import nhs_rows
from nhrpd_py.core.views.peers import peer_rows
from nhrpd_py.core.views.probes import probe_rows
from nhrpd_py.core.views.problems import problem_rows
from nhrpd_py.core.views.routes import route_rows
from nhrpd_py.core.views.shortcuts import shortcut_rows
from nhrpd_py.core.views.traffic import drop_rows, loss_rows, traffic_rows


class Views:
    """Makes the rows of every view. `config` is replaced when the file is read again."""

    __slots__ = ("_outbox", "_tunnels", "config")

    def __init__(self, config: Config, tunnels: Tunnels, outbox: Outbox) -> None:
        self.config = config
        self._tunnels = tunnels
        self._outbox = outbox

    def rows(self, query: Query, now: float) -> list[Row]:
        if query.view is View.CONFIG:
            return list(config_rows(self.config, query.interface))
        if query.view is View.INTERFACES:
            return [
                interface_row(tunnel)
                for tunnel in self._tunnels
                if query.interface in (None, tunnel.interface.name)
            ]
        if query.view is View.PROBLEMS:
            return list(problem_rows(self._tunnels, query.interface, now))
        rows: list[Row] = []
        for instance in self._tunnels.instances(query.interface):
            rows.extend(self._instance_rows(instance, query.view, now))
        if query.view is View.TRAFFIC:
            rows.extend(drop_rows(self._outbox, query.interface))
            rows.extend(loss_rows(self._tunnels, query.interface))
        return rows

    def _instance_rows(self, instance: Instance, view: View, now: float) -> Iterator[Row]:
        match view:
            case View.CACHE:
                return cache_rows(instance, now)
            case View.NHS:
                return nhs_rows(instance, now)
            case View.SHORTCUTS:
                return shortcut_rows(instance, now)
            case View.PEERS:
                return peer_rows(instance, now)
            case View.TRAFFIC:
                return traffic_rows(instance.station)
            case View.PROBES:
                return probe_rows(instance.station)
            case View.ROUTES:
                return route_rows(instance)
            case View.INTERFACES | View.PROBLEMS | View.CONFIG:
                raise AssertionError(view)  # these views have no rows of an instance
