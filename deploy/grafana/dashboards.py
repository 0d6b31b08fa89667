"""The dashboards: jobs, crystals, service.

Queue, workers, disk and Redis are gauges that every front end reports alike, hence `max` and `min`;
counters of all instances add up.
"""

from __future__ import annotations

from deploy.grafana.panels import Board, Number, Panel, Query

MODEL = 'model=~"$model"'
REAL = 'route!~"/(healthz|readyz|metrics)"'
BUDGET = 0.001  # the share of requests that may end in a 5xx answer, as in alerts.yml


def percentiles(histogram: str, selector: str = "", by: str = "") -> tuple[Query, ...]:
    """Median, 90th and 99th percentile of a histogram."""
    group = f"le, {by}" if by else "le"
    name = f" {{{{{by}}}}}" if by else ""
    rate = f"sum by ({group}) (rate({histogram}_bucket{{{selector}}}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({share}, {rate})", f"{percent} %{name}")
        for share, percent in ((0.5, 50), (0.9, 90), (0.99, 99))
    )


JOBS = Board(
    uid="cdvae-jobs",
    title="CDVAE jobs",
    description="How many jobs come and go, how long they wait and run.",
    by_model=True,
    numbers=(
        Number("Waiting", "Jobs in all queues.", "short",
               Query("max(sum by (instance) (cdvae_queue_depth))", "waiting")),
        Number("Running", "Jobs in work.", "short", Query("max(cdvae_jobs_running)", "running")),
        Number("Live workers", "Workers that announced themselves within 15 s.", "short",
               Query("max(sum by (instance) (cdvae_workers))", "workers")),
        Number("Ended in 24 h", "Jobs with any outcome.", "short",
               Query("sum(increase(cdvae_jobs_finished_total[24h]))", "ended")),
    ),
    panels=(
        Panel("Throughput by outcome", "Jobs that ended, a second.", "ops", (
            Query(f"sum by (state) (rate(cdvae_jobs_finished_total{{{MODEL}}}[$__rate_interval]))",
                  "{{state}}"),
        ), stacked=True),
        Panel("Submitted by kind", "Jobs that were taken, a second.", "ops", (
            Query(f"sum by (kind) (rate(cdvae_jobs_submitted_total{{{MODEL}}}[$__rate_interval]))",
                  "{{kind}}"),
        ), stacked=True),
        Panel("Share of failed jobs", "Of those that succeeded or failed; alert at 5 %.",
              "percentunit", (
            Query("cdvae:jobs_failed:increase15m / (cdvae:jobs_ended:increase15m > 0)",
                  "15 minutes"),
        )),
        Panel("Queue", "Jobs that wait, by priority.", "short", (
            Query("max by (queue) (cdvae_queue_depth)", "{{queue}}"),
        ), stacked=True),
        Panel("Oldest waiting job", "Objectives: interactive 30 s, normal 15 min, bulk a day.",
              "s", (
            Query("max by (queue) (cdvae_queue_oldest_seconds)", "{{queue}}"),
        )),
        Panel("Time in the queue", "Of jobs that ended.", "s",
              percentiles("cdvae_job_queue_seconds")),
        Panel("Run time by kind", "Of jobs that ended.", "s",
              percentiles("cdvae_job_run_seconds", MODEL, "kind")),
        Panel("Jobs in work", "Running jobs and busy workers.", "short", (
            Query("max(cdvae_jobs_running)", "running jobs"),
            Query('max(cdvae_workers{state="busy"})', "busy workers"),
        )),
    ),
)  # fmt: skip

CRYSTALS = Board(
    uid="cdvae-crystals",
    title="CDVAE crystals",
    description="What the models make, and what the machines that run them are doing.",
    by_model=True,
    numbers=(
        Number("Crystals in 24 h", "Of all models.", "short",
               Query(f"sum(increase(cdvae_crystals_total{{{MODEL}}}[24h]))", "crystals")),
        Number("Valid", "Share of the crystals of 24 h.", "percentunit",
               Query(f'sum(increase(cdvae_crystals_total{{valid="true",{MODEL}}}[24h]))'
                     f" / sum(increase(cdvae_crystals_total{{{MODEL}}}[24h]))", "valid")),
        Number("Evaluations a crystal", "Score evaluations for each crystal, 24 h.", "short",
               Query(f"sum(increase(cdvae_score_evaluations_total{{{MODEL}}}[24h]))"
                     f" / sum(increase(cdvae_crystals_total{{{MODEL}}}[24h]))", "evaluations")),
        Number("Busy", "Share of the live workers.", "percentunit",
               Query('max(cdvae_workers{state="busy"})'
                     " / max(sum by (instance) (cdvae_workers))", "busy")),
    ),
    panels=(
        Panel("Crystals a second", "By model.", "ops", (
            Query(f"sum by (model) (rate(cdvae_crystals_total{{{MODEL}}}[$__rate_interval]))",
                  "{{model}}"),
        ), stacked=True),
        Panel("Validity", "Share of valid crystals in 6 h, and what each model's card says.",
              "percentunit", (
            Query(f"cdvae:crystals_valid:ratio6h{{{MODEL}}}", "{{model}}"),
            Query(f"max by (model) (cdvae_model_validity{{{MODEL}}})", "{{model}} by its card"),
        )),
        Panel("Score evaluations a second", "One for each crystal and step, by model.", "ops", (
            Query("sum by (model) (rate("
                  f"cdvae_score_evaluations_total{{{MODEL}}}[$__rate_interval]))", "{{model}}"),
        ), stacked=True),
        Panel("Crystals in a batch", "What is decoded together.", "short", (
            *percentiles("cdvae_chunk_crystals"),
            Query("sum(rate(cdvae_chunk_crystals_sum[$__rate_interval]))"
                  " / sum(rate(cdvae_chunk_crystals_count[$__rate_interval]))", "mean"),
        )),
        Panel("Workers", "By state, as they announce themselves.", "short", (
            Query("max by (state) (cdvae_workers)", "{{state}}"),
        ), stacked=True),
        Panel("GPU memory", "Most that a worker's executor has allocated, and what its GPU has.",
              "bytes", (
            Query("cdvae_gpu_memory_bytes", "{{instance}}"),
            Query("cdvae_gpu_memory_total_bytes", "{{instance}} in all"),
        )),
    ),
)  # fmt: skip

SERVICE = Board(
    uid="cdvae-service",
    title="CDVAE service",
    description="Requests, errors, latency, and what the service stands on.",
    numbers=(
        Number("Redis", "1 where every front end reaches it.", "short",
               Query("min(cdvae_redis_up)", "Redis")),
        Number("Front ends", "Instances that answer Prometheus.", "short",
               Query('sum(up{job="cdvae-app"})', "up")),
        Number("Answered", "Share of requests without a 5xx answer, 1 h.", "percentunit",
               Query("1 - cdvae:http_errors:ratio1h", "answered")),
        Number("Firing alerts", "See docs/operations.md.", "short",
               Query('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts")),
    ),
    panels=(
        Panel("Requests by route", "A second, without probes and scrapes.", "reqps", (
            Query(f"sum by (route) (rate(cdvae_http_requests_total{{{REAL}}}[$__rate_interval]))",
                  "{{route}}"),
        ), stacked=True),
        Panel("Answers by status", "A second, without probes and scrapes.", "reqps", (
            Query(f"sum by (status) (rate(cdvae_http_requests_total{{{REAL}}}[$__rate_interval]))",
                  "{{status}}"),
        ), stacked=True),
        Panel("Latency", "Time to answer, without probes and scrapes.", "s",
              percentiles("cdvae_http_request_seconds", REAL)),
        Panel("Latency of submitting", "POST requests.", "s",
              percentiles("cdvae_http_request_seconds", 'method="POST"')),
        Panel("Burn of the error budget",
              "5xx answers over the 0.1 % that may be; 1 uses the budget up in 30 days, "
              "14.4 alerts within the hour.", "short", (
            Query(f"cdvae:http_errors:ratio5m / {BUDGET}", "5 minutes"),
            Query(f"cdvae:http_errors:ratio1h / {BUDGET}", "1 hour"),
            Query(f"cdvae:http_errors:ratio6h / {BUDGET}", "6 hours"),
        )),
        Panel("Space for results", "Of the file system with CDVAE_HOME.", "bytes", (
            Query("min(cdvae_disk_free_bytes)", "free"),
            Query("min(cdvae_disk_size_bytes)", "in all"),
        )),
    ),
)  # fmt: skip

BOARDS = {"jobs": JOBS, "crystals": CRYSTALS, "service": SERVICE}
"""By the name of the file in `dashboards/`."""
