"""The examples of an evaluation shared among processes, or among the ranks of a job."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch

from ._evaluation import HELD, Evaluation
from ._findings import Findings
from ._work import Keep, Work

#: Seconds between looks at whether the processes still live.
_LOOK = 1.0


def ranks() -> tuple[int, int]:
    """Which rank this is, and of how many; 0 of 1 where no job was started."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def recover(state: Evaluation, findings: Findings) -> Evaluation:
    """What shares of `state` had reached before they were stopped, joined to it."""
    if findings.folder is None:
        return state
    shares = [Evaluation.load(file) for file in sorted(findings.folder.glob(_share(state, "*")))]
    return state.joined(shares) if shares else state


def forget_shares(findings: Findings) -> None:
    """Removes what `recover` read, once the state it gave is kept."""
    if findings.folder is not None:
        for file in findings.folder.glob("share-*.json"):
            file.unlink()


def among_ranks(work: Work, state: Evaluation, findings: Findings) -> Evaluation:
    """Every rank attacks its share; all return the same."""
    rank, world = ranks()
    share = _shares(state, world)[rank]
    keep = functools.partial(_keep_share, findings, _share(state, str(rank)))
    share = work.attack(share, findings, keep)
    gathered: list[Any] = [None] * world
    torch.distributed.all_gather_object(gathered, (share, findings.in_memory()))
    for number, (_, found) in enumerate(gathered):
        for kind, parts in found.items() if number != rank else ():
            for part in parts:
                findings.add(kind, part)
    return state.joined([share for share, _ in gathered])


def together() -> None:
    """Waits for all ranks."""
    if ranks()[1] > 1:
        torch.distributed.barrier()


def from_first_rank(state: Evaluation) -> Evaluation:
    """What the first rank has."""
    if ranks()[1] == 1:
        return state
    box: list[Any] = [state]
    torch.distributed.broadcast_object_list(box)
    return box[0]


def in_processes(
    work: Work, state: Evaluation, findings: Findings, processes: int, keep: Keep
) -> Evaluation:
    """New processes attack a share each; `keep` sees them joined.

    Raises:
        ValueError: The model cannot be sent to another process, or a share raised one.
        RuntimeError: A process ended before its share did.
    """
    try:
        # As bytes: torch would move the storages of the caller's tensors into shared memory.
        sent = pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"the model or an attack cannot be sent to another process: {error}. Define its class "
            "at the top level of a module, or use one process"
        ) from None
    context = multiprocessing.get_context("spawn")
    news = context.Queue()
    threads = max(1, torch.get_num_threads() // processes)
    latest: dict[int, Evaluation] = {}
    started: list[BaseProcess] = []
    try:
        for number, share in enumerate(_shares(state, processes)):
            process = context.Process(
                target=_attack_share,
                args=(sent, share, findings, _share(state, str(number)), number, threads,
                      os.getpid(), news),
                daemon=True,
            )  # fmt: skip
            with deaf_to_interrupts():  # as the new process is from its first moment
                process.start()
            started.append(process)
        for number, share, error in _listen(news, started):
            if error is not None:
                raise error
            latest[number] = share
            keep(state.joined(list(latest.values())))
    finally:
        for process in started:
            process.terminate()
            process.join()
    return state.joined(list(latest.values()))


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """A process that is started in this block never hears of Ctrl-C; its parent ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _listen(
    news: Any, processes: Sequence[BaseProcess]
) -> Iterator[tuple[int, Evaluation, Exception | None]]:
    """What processes report, until each has said that it is done."""
    left = len(processes)
    while left:
        try:
            number, share, error, done = news.get(timeout=_LOOK)
        except queue.Empty:
            if any(process.exitcode not in (None, 0) for process in processes):
                raise RuntimeError(
                    "a process that attacked a share was killed, perhaps for want of memory; what "
                    "is done is kept, and the same call goes on"
                ) from None
            continue
        left -= done
        yield number, share, error


def _attack_share(
    sent: bytes, share: Evaluation, findings: Findings, name: str, number: int, threads: int,
    parent: int, news: Any,
) -> None:  # fmt: skip
    """What a process does."""
    torch.set_num_threads(threads)

    def keep(share: Evaluation) -> Evaluation:
        if os.getppid() != parent:  # it was killed; whoever goes on must find no rival
            os._exit(1)
        news.put((number, share, None, False))
        return _keep_share(findings, name, share)

    try:
        work: Work = pickle.loads(sent)
        news.put((number, work.attack(share, findings, keep), None, True))
    except Exception as error:
        kind = type(error) if isinstance(error, ValueError | OSError) else RuntimeError
        news.put((number, share, kind(*error.args), True))


def _keep_share(findings: Findings, name: str, share: Evaluation) -> Evaluation:
    if findings.folder is not None:
        share.save(findings.folder / name)
    return share


def _shares(state: Evaluation, count: int) -> list[Evaluation]:
    """The examples that still stand, dealt out like cards."""
    standing = np.flatnonzero(state.broken_by == HELD)
    return [state.take(standing[number::count]) for number in range(count)]


def _share(state: Evaluation, number: str) -> str:
    """The file of a share: it counts only together with the state that it was taken from."""
    return f"share-{number}-after-{state.cost.forwards}.json"
