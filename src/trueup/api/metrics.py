"""Figures for Prometheus. docs/metrics.md says what each means, and which alarm it is good for.

What comes from the ledger is read when somebody asks, by queries whose cost does not grow with the ledger's age, and is
the same whichever node is asked. What is this process's own begins with `trueup_http_`, `trueup_process_`, `process_`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from trueup import views_audit
from trueup._version import __version__
from trueup.pace.admission import Caused
from trueup.store import tallies
from trueup.views_alerts import alerts
from trueup.views_serving import paced

if TYPE_CHECKING:
    from trueup.app import Trueup

#: A node that was heard of within this time is there.
ALIVE = timedelta(seconds=30)
#: Told by a governor longer ago than this, seconds: nobody works on that database, and what it told is history.
IDLE_S = 10.0
#: Kinds of drift, states of requests, projections and governors: each has its series even where it is 0.
KINDS = ("missing", "extra", "different")
REQUESTS = ("waiting", "running", "done", "failed", "skipped")
SWITCHES = ("running", "paused", "stopped")


class Metrics:
    """Counts requests, and tells the ledger's figures with them."""

    def __init__(self, caused: Callable[[], Mapping[str, Caused]]) -> None:
        """`caused`: what this process's runs asked of each paced database so far."""
        self._caused = caused
        self.own = CollectorRegistry()
        ProcessCollector(registry=self.own)
        labels = ("method", "route", "status")
        self._requests = Counter("trueup_http_requests", "Requests answered.", labels, registry=self.own)
        self._seconds = Histogram(
            "trueup_http_request_seconds", "How long answers took.", ("route",), registry=self.own
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One more was answered; `route` is ours, whatever was asked for."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self, engine: Trueup) -> bytes:
        """All figures, in Prometheus' text format. Raises LedgerFailed."""
        registry = CollectorRegistry()
        registry.register(_Ledger(engine))
        registry.register(_Load(self._caused()))
        return generate_latest(registry) + generate_latest(self.own)


class _Load(Collector):
    """What this process asked of databases."""

    def __init__(self, caused: Mapping[str, Caused]) -> None:
        self.caused = caused

    def collect(self) -> Iterator[Metric]:
        labels = ["database"]
        text = "Statements of this process against a paced database, and how long they took."
        statements = SummaryMetricFamily("trueup_process_statement_seconds", text, labels=labels)
        text = "How often a governor of this process went into a state."
        changes = CounterMetricFamily("trueup_pace_changes", text, labels=["database", "state"])
        for database, caused in self.caused.items():
            statements.add_metric([database], caused.statements, caused.seconds)
            for state, times in sorted(caused.changes.items()):
                changes.add_metric([database, state], times)
        yield from (statements, changes)


class _Ledger(Collector):
    """What the ledger knows at this moment."""

    def __init__(self, engine: Trueup) -> None:
        self.engine = engine
        self.now = engine.queue.now(engine.clock.now())

    def collect(self) -> Iterator[Metric]:
        yield _one("trueup_build", "Version of this node, as a label.", 1.0, {"version": __version__})
        yield from self._drift()
        yield from self._runs()
        yield from self._projections()
        yield from self._serving()
        yield from self._pacing()
        yield from self._alerts()

    def _drift(self) -> Iterator[Metric]:
        rows = _gauge("trueup_drift_rows", "Rows that are known to be wrong.", "projection", "kind")
        oldest = _gauge("trueup_drift_oldest_seconds", "Age of the oldest known drift; 0: none.", "projection")
        most = _gauge("trueup_drift_largest", "By how much a number is off at most.", "projection", "column")
        with self.engine.ledger.reading() as c:
            known = {(each.projection, each.kind): each for each in tallies.known(c)}
            for name, projection in self.engine.projections.items():
                mine = [known[name, kind] for kind in KINDS if (name, kind) in known]
                for kind in KINDS:
                    rows.add_metric([name, kind], known[name, kind].rows if (name, kind) in known else 0)
                oldest.add_metric([name], max((self._age(each.oldest) for each in mine), default=0.0))
                for column, off in tallies.largest(c, name, projection.sensitive).items():
                    most.add_metric([name, column], off)
        yield from (rows, oldest, most)

    def _runs(self) -> Iterator[Metric]:
        labels = ("projection", "command", "ended")
        seconds = SummaryMetricFamily("trueup_run_seconds", "Runs that ended, and how long they took.", labels=labels)
        did = {
            "repaired": "Rows that runs put right.",
            "stepped_aside": "Rows that had moved on since they were decided on, and were left alone.",
            "left_wrong": "Rows that a run which repairs left wrong: refused by the database, or by policy.",
        }
        counted = {
            name: CounterMetricFamily(f"trueup_rows_{name}", text, labels=["projection"]) for name, text in did.items()
        }
        sums = {(name, what): 0 for name in self.engine.projections for what in did}
        with self.engine.ledger.reading() as c:
            for each in tallies.tallied(c):
                seconds.add_metric([each.projection, each.command, each.ended], each.runs, each.seconds)
                for what in did:
                    key = each.projection, what
                    sums[key] = sums.get(key, 0) + getattr(each, what)
        for (name, what), count in sums.items():
            counted[what].add_metric([name], count)
        yield from (seconds, *counted.values())

    def _projections(self) -> Iterator[Metric]:
        switch = _gauge(
            "trueup_projection_switch", "1 for the state a projection is switched to.", "projection", "state"
        )
        out = _gauge("trueup_quarantined_rows", "Rows that are left out of repairs.", "projection")
        last = _gauge("trueup_last_run_seconds", "How long the last run that ended took.", "projection", "command")
        age = _gauge("trueup_last_run_age_seconds", "Time since it ended.", "projection", "command")
        for status in self.engine.status():
            name = status.projection.name
            for state in SWITCHES:
                switch.add_metric([name, state], float(status.control.state == state))
            out.add_metric([name], status.quarantined)
            if status.last is not None and status.last.ended_at is not None:
                labels = [name, status.last.command]
                age.add_metric(labels, self._age(status.last.ended_at))
                last.add_metric(labels, (status.last.report or {}).get("seconds", 0.0))
        yield from (switch, out, last, age, *self._unreconciled())

    def _unreconciled(self) -> Iterator[Metric]:
        """Nothing is told of a projection that was never verified completely: how old its data are is not known."""
        age = _gauge("trueup_unreconciled_seconds", "Age of the oldest part that is not verified.", "projection")
        aim = _gauge("trueup_unreconciled_aim_seconds", "How old it may be: `fresh`.", "projection")
        for name in self.engine.projections:
            fresh = self.engine.freshness(name)
            seconds = fresh.age_s(self.now)
            if seconds is not None:
                age.add_metric([name], seconds)
            if fresh.fresh is not None:
                aim.add_metric([name], fresh.fresh)
        yield from (age, aim)

    def _serving(self) -> Iterator[Metric]:
        with self.engine.ledger.reading() as c:
            counts, waiting = tallies.requested(c)
            alive = tallies.alive(c, self.now - ALIVE)
        requests = _gauge("trueup_requests", "Requests of the queue, those that ended for a week.", "state")
        for state in REQUESTS:
            requests.add_metric([state], counts.get(state, 0))
        yield requests
        yield _one(
            "trueup_queue_oldest_seconds", "How long the oldest request has been waiting; 0: none.", self._age(waiting)
        )
        yield _one("trueup_nodes", "Nodes that were heard of within half a minute.", alive)
        audit = views_audit.audit(self.engine)
        yield _one("trueup_audit_lines", "Lines of the audit log that have a number.", audit["lines"])
        yield _one("trueup_audit_unsequenced", "Lines of the audit log that have no number yet.", audit["unsequenced"])
        age = audit["unsequenced_age_seconds"] or 0.0
        yield _one("trueup_audit_unsequenced_seconds", "How long the oldest of them has been waiting.", age)

    def _alerts(self) -> Iterator[Metric]:
        told = alerts(self.engine)
        firing = _gauge("trueup_alerts_firing", "1 for each rule of alerts that is firing.", "subject", "rule")
        for each in told["alerts"]:
            if each["state"] == "firing":
                firing.add_metric([each["subject"], each["rule"]], 1.0)
        yield firing
        text = "Messages of alerts that were tried and not accepted, 20 at most."
        yield _one("trueup_alerts_undelivered", text, len(told["undelivered"]))

    def _pacing(self) -> Iterator[Metric]:
        state = _gauge("trueup_pace_state", "1, with what the governor does as a label.", "database", "state")
        nodes = _gauge("trueup_pace_nodes", "Nodes that work on the database.", "database")
        load = _gauge("trueup_pace_load", "Statements in flight that are permitted, on average.", "database")
        statement = _gauge("trueup_pace_statement_seconds", "How long a statement aims to take.", "database")
        text = "Settings of its pacing that somebody has set, and that are not known here."
        unknown = _gauge("trueup_pace_unknown_settings", text, "database")
        told = {
            "slowed": _gauge(
                "trueup_pace_slowed", "By how much the slowest twentieth of others is slowed.", "database"
            ),
            "budget": _gauge("trueup_pace_budget", "By how much it may be slowed, as a share.", "database"),
            "pressure": _gauge(
                "trueup_pace_pressure", "Pressure on the database; from 1 on it is too much.", "database"
            ),
        }
        for database in paced(self.engine):
            row = self.engine.pace(database)
            working = row is not None and row.nodes > 0 and row.age_s <= IDLE_S
            said = row.told if row is not None and working else {}
            state.add_metric([database, str(said.get("mode", "idle"))], 1.0)
            nodes.add_metric([database], row.nodes if row is not None else 0)
            unknown.add_metric([database], 0 if row is None else len(row.unknown))
            load.add_metric([database], row.u if row is not None and working else 0.0)
            if row is not None and row.statement_s:
                statement.add_metric([database], row.statement_s)
            for key, family in told.items():
                if said.get(key) is not None:
                    family.add_metric([database], float(said[key]))
        yield from (state, nodes, load, statement, unknown, *told.values())

    def _age(self, moment: datetime | None) -> float:
        return 0.0 if moment is None else max((self.now - moment).total_seconds(), 0.0)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _one(name: str, text: str, value: float, labels: dict[str, str] | None = None) -> GaugeMetricFamily:
    """A gauge with one series."""
    family = GaugeMetricFamily(name, text, labels=tuple(labels or ()))
    family.add_metric(list((labels or {}).values()), value)
    return family
