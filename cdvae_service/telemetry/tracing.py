"""OpenTelemetry traces, from an HTTP request to the job in its executor; optional.

Without the extra `telemetry`, or without `OTEL_EXPORTER_OTLP_ENDPOINT`, all of this does nothing.
"""

import logging
import os
import threading

from opentelemetry import propagate, trace
from opentelemetry.context import Context

log = logging.getLogger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
FLUSH_SECONDS = 3.0
_HEADER = "traceparent"

tracer = trace.get_tracer("cdvae")


def export_traces(service: str) -> None:
    """Send the spans of this process to the collector in the environment, if there is one."""
    if not os.environ.get(ENDPOINT):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s is set, but the extra 'telemetry' is not installed: no traces", ENDPOINT)
        return
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def flush_traces() -> None:
    """Send the remaining spans; wait at most three seconds for the collector.

    Python's own exit would do it, but front end and executor end by a signal and by `os._exit`.
    """
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)  # without an exporter: none
    if flush is not None:
        sending = threading.Thread(target=flush, daemon=True)
        sending.start()
        sending.join(FLUSH_SECONDS)


def carried_context() -> str:
    """Return the current span as text for another process (W3C trace context), or ""."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get(_HEADER, "")


def context_from(text: str) -> Context:
    """Return the context in a text of `carried_context`."""
    return propagate.extract({_HEADER: text})
