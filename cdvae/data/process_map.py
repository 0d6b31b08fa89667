"""Order-preserving parallel map over processes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[int, int], None]  # (done, total)


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int = 1,
    progress: Progress | None = None,
    chunk_size: int = 64,
) -> list[Result]:
    """Return `function` of each item, in order; an exception of any call is raised.

    One worker computes in this process. Several workers are spawned, because torch's threads do not
    survive a fork; `function` and its arguments must be importable and picklable.
    """
    if workers < 1:
        raise ValueError(f"workers {workers}, need at least 1")
    parts = [items[start : start + chunk_size] for start in range(0, len(items), chunk_size)]
    results: list[list[Result]] = [[] for _ in parts]
    done = 0
    for index, part in _run(function, parts, min(workers, len(parts))):
        results[index] = part
        done += len(part)
        if progress is not None:
            progress(done, len(items))
    return [result for part in results for result in part]


def _run(
    function: Callable[[Item], Result], parts: Sequence[Sequence[Item]], workers: int
) -> Iterator[tuple[int, list[Result]]]:
    if workers <= 1:
        for index, part in enumerate(parts):
            yield index, _apply(function, part)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pending: dict[Future[list[Result]], int] = {
            pool.submit(_apply, function, part): index for index, part in enumerate(parts)
        }
        try:
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), future.result()
        finally:
            for future in pending:
                future.cancel()


def _apply(function: Callable[[Item], Result], part: Sequence[Item]) -> list[Result]:
    return [function(item) for item in part]
