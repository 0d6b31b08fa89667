"""Progress bar of a job, in a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cdvae_client.calls import Told
from cdvae_schema.job_specs import JobStatus

Progress = bool | Told
"""True for a bar, or a function that receives every status of the job."""

FORMAT = "{percentage:3.0f}%|{bar}| {desc}"


@contextmanager
def shown(progress: Progress) -> Iterator[Told | None]:
    """Yield the function that receives the job's statuses, or None."""
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield None
    else:
        from tqdm.auto import tqdm

        with tqdm(total=1.0, bar_format=FORMAT) as bar:

            def show(status: JobStatus) -> None:
                done = status.progress
                left = "" if done.eta_seconds is None else f", {done.eta_seconds:.0f} s left"
                count = f"{done.samples_done} of {done.samples_total} crystals"
                bar.n = done.fraction
                bar.set_description_str(f"{done.stage}: {count}{left}")

            yield show
