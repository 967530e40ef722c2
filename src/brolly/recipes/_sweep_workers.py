"""The trials of a sweep shared among processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from ..evaluation._shards import deaf_to_interrupts
from ._sweep import work
from ._sweep_plan import Plan


def in_processes(
    plan: Plan,
    data_dir: str | Path | None,
    device: str | None,
    on_end: Callable[[Path], None],
    workers: int,
) -> None:
    """New processes train the trials, each with its part of torch's threads.

    They are sent names only, no tensors, and find each other by the locks on the run folders. If
    one is killed the others take up its trial.

    Raises:
        RuntimeError: All of them were killed, or one raised an error that is not the user's.
    """
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // workers)
    started: list[BaseProcess] = []
    news: list[Connection] = []
    try:
        for _ in range(workers):
            here, there = context.Pipe(duplex=False)
            process = context.Process(
                target=_work, args=(plan, data_dir, device, threads, os.getpid(), there),
                daemon=True,
            )  # fmt: skip
            with deaf_to_interrupts():
                process.start()
            there.close()  # so that the pipe ends with the process
            started.append(process)
            news.append(here)
        for folder in _listen(news):
            on_end(folder)
        for process in started:
            process.join()
        if all(process.exitcode != 0 for process in started):
            raise RuntimeError(
                "all workers were killed, perhaps for want of memory; what is done is kept, and "
                "the same call goes on"
            )
    finally:
        for process in started:
            process.terminate()
            process.join()


def _listen(news: list[Connection]) -> Iterator[Path]:
    """Folders of trials, as they end, until no worker is left."""
    while news:
        for connection in wait(news):
            assert isinstance(connection, Connection)
            try:
                told = connection.recv()
            except (EOFError, OSError):  # its worker has ended, or was killed in mid-word
                news.remove(connection)
                continue
            if isinstance(told, Exception):
                raise told
            yield told


def _work(
    plan: Plan, data_dir: str | Path | None, device: str | None, threads: int, parent: int,
    news: Connection,
) -> None:  # fmt: skip
    """What a process does."""
    torch.set_num_threads(threads)

    def on_step(done: int, steps: int, loss: float) -> None:
        if os.getppid() != parent:  # it was killed; whoever goes on must find no rival
            os._exit(1)

    try:
        work(plan, data_dir, device, news.send, on_step)
    except Exception as error:
        kind = type(error) if isinstance(error, ValueError | OSError) else RuntimeError
        news.send(kind(*error.args))
