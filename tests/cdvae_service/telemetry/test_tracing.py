"""A trace goes from a request through the queue into the executor."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis import Redis

from cdvae_schema.wire import FIELD_TRACE
from cdvae_service.telemetry.tracing import (
    ENDPOINT,
    carried_context,
    context_from,
    export_traces,
    tracer,
)
from tests.app.conftest import MakeClient, StandInWorker, client, make_client, store, worker

__all__ = ["client", "make_client", "store", "worker"]  # fixtures


@pytest.fixture(scope="module")
def exporter() -> Iterator[InMemorySpanExporter]:
    """The spans of this process; OpenTelemetry allows one provider a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


def test_without_a_collector_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    export_traces("x")
    assert carried_context() == ""


def test_a_job_belongs_to_the_trace_of_its_request(
    make_client: MakeClient,
    redis_url: str,
    redis_client: Redis,
    worker: StandInWorker,
    exporter: InMemorySpanExporter,
) -> None:
    client = make_client(redis_url=redis_url)
    outer = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert client.post("/generate", headers={"traceparent": outer}).status_code == 202
    job, _ = worker.take()
    carried = redis_client.hget(job.key, FIELD_TRACE).decode()
    with tracer.start_as_current_span("job", context_from(carried)):
        pass
    spans = {span.name: span for span in exporter.get_finished_spans()}
    request, work = spans["POST /generate"], spans["job"]
    assert request.name == "POST /generate"
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 202
    assert f"{request.context.trace_id:032x}" == outer.split("-")[1]
    assert work.context.trace_id == request.context.trace_id
    assert work.parent is not None
    # Between the two lie spans of the libraries.
    assert work.parent.span_id in {span.context.span_id for span in spans.values()} - {
        work.context.span_id
    }
