"""The dashboards: jobs, crystals, service.

Every front end reports the same gauges of queue, workers, disk and Redis, hence `max` and `min`;
counters of all instances add up.
"""

from __future__ import annotations

from deploy.grafana.panels import Board, Number, Panel, Query

MODEL = 'model=~"$model"'
REAL = 'route!~"/(healthz|readyz|metrics)"'
BUDGET = 0.001  # allowed share of 5xx answers, as in alerts.yml


def percentiles(histogram: str, selector: str = "", by: str = "") -> tuple[Query, ...]:
    """Return the queries of the median, 90th and 99th percentile of a histogram."""
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
    description="Numbers of jobs, waiting times and run times.",
    by_model=True,
    numbers=(
        Number("Waiting", "Jobs in all queues.", "short",
               Query("max(sum by (instance) (cdvae_queue_depth))", "waiting")),
        Number("Running", "Jobs that run now.", "short",
               Query("max(cdvae_jobs_running)", "running")),
        Number("Live workers", "Workers with a heartbeat.", "short",
               Query("max(sum by (instance) (cdvae_workers))", "workers")),
        Number("Ended in 24 h", "Jobs with any outcome.", "short",
               Query("sum(increase(cdvae_jobs_finished_total[24h]))", "ended")),
    ),
    panels=(
        Panel("Throughput by outcome", "Jobs that end per second.", "ops", (
            Query(f"sum by (state) (rate(cdvae_jobs_finished_total{{{MODEL}}}[$__rate_interval]))",
                  "{{state}}"),
        ), stacked=True),
        Panel("Submitted by kind", "Accepted jobs per second.", "ops", (
            Query(f"sum by (kind) (rate(cdvae_jobs_submitted_total{{{MODEL}}}[$__rate_interval]))",
                  "{{kind}}"),
        ), stacked=True),
        Panel("Share of failed jobs", "Share of the jobs that succeeded or failed; alert at 5 %.",
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
        Panel("Time in the queue", "Waiting times of jobs that have ended.", "s",
              percentiles("cdvae_job_queue_seconds")),
        Panel("Run time by kind", "Run times of jobs that have ended.", "s",
              percentiles("cdvae_job_run_seconds", MODEL, "kind")),
        Panel("Running jobs", "Running jobs and busy workers.", "short", (
            Query("max(cdvae_jobs_running)", "running jobs"),
            Query('max(cdvae_workers{state="busy"})', "busy workers"),
        )),
    ),
)  # fmt: skip

CRYSTALS = Board(
    uid="cdvae-crystals",
    title="CDVAE crystals",
    description="Crystals by model, and the workers that generate them.",
    by_model=True,
    numbers=(
        Number("Crystals in 24 h", "Crystals of the selected models.", "short",
               Query(f"sum(increase(cdvae_crystals_total{{{MODEL}}}[24h]))", "crystals")),
        Number("Valid", "Share of the crystals of the last 24 h.", "percentunit",
               Query(f'sum(increase(cdvae_crystals_total{{valid="true",{MODEL}}}[24h]))'
                     f" / sum(increase(cdvae_crystals_total{{{MODEL}}}[24h]))", "valid")),
        Number("NFE per crystal", "Mean number of function evaluations in 24 h.", "short",
               Query(f"sum(increase(cdvae_score_evaluations_total{{{MODEL}}}[24h]))"
                     f" / sum(increase(cdvae_crystals_total{{{MODEL}}}[24h]))", "NFE")),
        Number("Busy", "Share of the live workers.", "percentunit",
               Query('max(cdvae_workers{state="busy"})'
                     " / max(sum by (instance) (cdvae_workers))", "busy")),
    ),
    panels=(
        Panel("Crystals per second", "Rates by model.", "ops", (
            Query(f"sum by (model) (rate(cdvae_crystals_total{{{MODEL}}}[$__rate_interval]))",
                  "{{model}}"),
        ), stacked=True),
        Panel("Validity", "Share of valid crystals in 6 h, and the value of each model's card.",
              "percentunit", (
            Query(f"cdvae:crystals_valid:ratio6h{{{MODEL}}}", "{{model}}"),
            Query(f"max by (model) (cdvae_model_validity{{{MODEL}}})", "{{model}}, card"),
        )),
        Panel("NFE per second", "One for each crystal and network evaluation, by model.", "ops", (
            Query("sum by (model) (rate("
                  f"cdvae_score_evaluations_total{{{MODEL}}}[$__rate_interval]))", "{{model}}"),
        ), stacked=True),
        Panel("Crystals in a batch", "Crystals that are decoded in one batch.", "short", (
            *percentiles("cdvae_decode_batch_crystals"),
            Query("sum(rate(cdvae_decode_batch_crystals_sum[$__rate_interval]))"
                  " / sum(rate(cdvae_decode_batch_crystals_count[$__rate_interval]))", "mean"),
        )),
        Panel("Workers", "Workers by the state in their heartbeat.", "short", (
            Query("max by (state) (cdvae_workers)", "{{state}}"),
        ), stacked=True),
        Panel("GPU memory", "Peak of each executor, and the memory of its GPU.",
              "bytes", (
            Query("cdvae_gpu_memory_bytes", "{{instance}}"),
            Query("cdvae_gpu_memory_total_bytes", "{{instance}}, total"),
        )),
    ),
)  # fmt: skip

SERVICE = Board(
    uid="cdvae-service",
    title="CDVAE service",
    description="Requests, errors, latency, Redis and disk.",
    numbers=(
        Number("Redis", "1 if all front ends reach it.", "short",
               Query("min(cdvae_redis_up)", "Redis")),
        Number("Front ends", "Instances that answer Prometheus.", "short",
               Query('sum(up{job="cdvae-app"})', "up")),
        Number("Answered", "Share of requests without a 5xx answer, 1 h.", "percentunit",
               Query("1 - cdvae:http_errors:ratio1h", "answered")),
        Number("Firing alerts", "See docs/operations.md.", "short",
               Query('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts")),
    ),
    panels=(
        Panel("Requests by route", "Per second, without probes and scrapes.", "reqps", (
            Query(f"sum by (route) (rate(cdvae_http_requests_total{{{REAL}}}[$__rate_interval]))",
                  "{{route}}"),
        ), stacked=True),
        Panel("Answers by status", "Per second, without probes and scrapes.", "reqps", (
            Query(f"sum by (status) (rate(cdvae_http_requests_total{{{REAL}}}[$__rate_interval]))",
                  "{{status}}"),
        ), stacked=True),
        Panel("Latency", "Time to answer, without probes and scrapes.", "s",
              percentiles("cdvae_http_request_seconds", REAL)),
        Panel("Latency of submitting", "POST requests.", "s",
              percentiles("cdvae_http_request_seconds", 'method="POST"')),
        Panel("Burn of the error budget",
              "Share of 5xx answers divided by the budget of 0.1 %. At 1 the budget lasts 30 days; "
              "14.4 fires an alert within an hour.", "short", (
            Query(f"cdvae:http_errors:ratio5m / {BUDGET}", "5 minutes"),
            Query(f"cdvae:http_errors:ratio1h / {BUDGET}", "1 hour"),
            Query(f"cdvae:http_errors:ratio6h / {BUDGET}", "6 hours"),
        )),
        Panel("Space for results", "Space of the file system with CDVAE_HOME.", "bytes", (
            Query("min(cdvae_disk_free_bytes)", "free"),
            Query("min(cdvae_disk_size_bytes)", "total"),
        )),
    ),
)  # fmt: skip

BOARDS = {"jobs": JOBS, "crystals": CRYSTALS, "service": SERVICE}
"""The dashboards by the name of their file in `dashboards/`."""
