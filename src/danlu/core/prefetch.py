"""Threads that compute results a little before they are needed, in the order of the inputs."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    make: Callable[[Item], Result], items: Iterable[Item], threads: int, max_pending: int | None = None
) -> Iterator[Result]:
    """Map `make` over items in threads and yield the results in order.

    Args:
        make: called in threads; its error is raised when its result is due, and ends the work.
        items: read only as far as results are computed, so it may be endless.
        threads: number of worker threads.
        max_pending: results that may wait to be consumed; bounds the memory. Default: twice the threads.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > (max_pending or 2 * threads):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
