"""One trace from a client's request through front end and queue into the executor."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cdvae_service.telemetry.tracing import ENDPOINT
from tests.e2e.service import Service

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass(frozen=True)
class Seen:
    """A span that the collector received."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]


@dataclass
class Collector:
    """A collector of OTLP over HTTP with the spans that it received."""

    spans: list[Seen] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            facts = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                    attributes = {one.key: one.value.string_value for one in span.attributes}
                    self.spans.append(Seen(facts["service.name"], span.name, *ids, attributes))

    def named(self, name: str) -> Seen:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    """Yield a collector and its URL."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield collector, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_work_of_a_request_is_in_its_trace(
    tmp_path: Path, collector: tuple[Collector, str]
) -> None:
    spans, url = collector
    # Spans are sent only at the end, so a span that the end loses is missing here.
    settings = {ENDPOINT: url, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    service = Service(tmp_path, settings=settings)
    service.start()
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    answer = service.call("POST", "/generate", {"num_samples": 1}, headers)
    job = answer.json["id"]
    assert service.wait(job)["state"] == "succeeded"
    assert service.stop() == 0, service.log.read_text()

    request, work = spans.named("POST /generate"), spans.named("job")
    assert (request.service, work.service) == ("cdvae-app", "cdvae-worker")
    assert request.trace == work.trace == TRACE
    assert request.parent == CALLER
    assert work.attributes["cdvae.job.id"] == job
    above = {span.id: span.parent for span in spans.spans if span.trace == TRACE}
    place = work.id
    while place not in (request.id, CALLER):
        place = above[place]
    assert place == request.id
