"""Prometheus metrics (seed 002 6.5): few labels, so that their number stays bounded."""

from __future__ import annotations

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)


class Metrics:
    """All metrics of one app, in a registry of their own."""

    def __init__(self) -> None:
        """Register every metric, so that each is present before its first event."""
        self.registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)
        self.requests = Counter(
            "http_requests", "HTTP requests", ["method", "endpoint", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "http_request_duration_seconds", "HTTP latency", ["method", "endpoint"], registry=self.registry
        )
        self.acknowledged = Counter(
            "observer_records_acknowledged", "Records durable in both stores", registry=self.registry
        )
        self.refused = Counter(
            "observer_records_refused", "Records not acknowledged", ["reason"], registry=self.registry
        )
        self.quotes = Counter("observer_quotes", "Quotes written", ["store"], registry=self.registry)
        self.quotes_dropped = Counter(
            "observer_quotes_dropped", "Quotes that a store never got", ["store"], registry=self.registry
        )
        self.database_up = Gauge("observer_database_up", "1 while connected", registry=self.registry)
        self.kis_up = Gauge("observer_kis_up", "1 while the KIS API accepts the key", registry=self.registry)
        self.collector_up = Gauge("observer_collector_up", "1 while collecting", registry=self.registry)
        self.ready = Gauge("observer_ready", "Last answer of /ready", registry=self.registry)
        self.log_failures = Gauge(
            "observer_log_file_failures", "Log records that are only on stdout", registry=self.registry
        )
        self.build = Gauge(
            "observer_build_info", "Always 1", ["version", "tag", "variant"], registry=self.registry
        )

    def render(self) -> bytes:
        """Return the text format."""
        return generate_latest(self.registry)
