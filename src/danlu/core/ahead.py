"""Work done by threads a little before it is asked for. Results come in the order of what they were made from."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    make: Callable[[Item], Result], items: Iterable[Item], threads: int, most: int | None = None
) -> Iterator[Result]:
    """Results of `make`, in order.

    Args:
        make: called in threads; an error of its comes when its result is due, and ends the work.
        items: read only as far as results are made, so it may be endless.
        threads: how many work at once.
        most: results that may wait to be taken; bounds the memory. Twice the threads when left out.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > (most or 2 * threads):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
