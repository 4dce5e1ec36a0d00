"""Work that goes on in threads while its results are taken in the order of what was asked."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Generator[Result, None, None]:
    """Work on items in the threads of a pool, some before their results are asked for.

    What is raised for an item is raised in its turn. To be closed when it is left before its end: what has not begun is
    then given up, and what has begun is waited for.

    Args:
        pool: of the threads.
        work: on one item.
        items: taken where the results are.
        ahead: items that may be in work, or done, beside the one that is waited for.
    """
    begun: deque[Future[Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
        wait(begun)
