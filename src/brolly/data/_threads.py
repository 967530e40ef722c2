"""Reading by several threads, and ahead of who reads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
Part = TypeVar("Part")
Content = TypeVar("Content")

_thread = threading.local()


def usable_cpus() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(work: Callable[[int], Result], starts: range) -> list[Result]:
    """What `work` gives at each start, by at most 8 threads where there are several starts.

    A thread of `prefetch` does it all by itself: the others read other parts meanwhile.
    """
    if len(starts) < 2 or getattr(_thread, "reads_ahead", False):
        return [work(start) for start in starts]
    with ThreadPoolExecutor(min(len(starts), usable_cpus(), 8)) as pool:
        return list(pool.map(work, starts))


def prefetch(
    read: Callable[[Part], Content], parts: Iterable[Part], threads: int
) -> Generator[Content, None, None]:
    """`read(part)` of each part, in order, with `threads + 2` of them read or being read ahead.

    What a thread raises is raised here, in its place. The threads end with the iterator, also
    where it is closed or dropped before its end.

    Args:
        read: May be called from several threads at once.
        parts: What to read.
        threads: 0: nothing is read ahead.
    """
    if threads == 0:
        yield from map(read, parts)
        return
    pool = ThreadPoolExecutor(threads, "brolly-read", lambda: setattr(_thread, "reads_ahead", True))
    ahead: deque[Future[Content]] = deque()
    try:
        for part in parts:
            ahead.append(pool.submit(read, part))
            if len(ahead) > threads + 2:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
