"""Processes that are the ranks of a gloo group, and do what a test asks them to."""

import datetime
import multiprocessing
from contextlib import contextmanager

import torch.distributed as dist

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.rank_pipelines"])  # what takes long is imported once for all of them
GONE = "gone"
FIRST = 1
"""Of the processes the second and third are the group: ranks are the group's, not the world's."""


def _serve(number, count, path, timeout, pipe):
    store = dist.FileStore(path, count)
    dist.init_process_group("gloo", store=store, rank=number, world_size=count)
    dist.barrier()  # starting may take longer than the group's timeout
    group = dist.new_group(list(range(FIRST, count)), timeout=datetime.timedelta(seconds=timeout))
    while (asked := pipe.recv()) is not None:
        work, arguments = asked
        try:
            pipe.send((True, work(group, *arguments)))
        except Exception as error:
            pipe.send((False, f"{type(error).__name__}: {error}"))


class Processes:
    def __init__(self, ranks, path, timeout):
        self._pipes, self._processes = [], []
        for number in range(FIRST + ranks):
            here, there = FORKS.Pipe()
            process = FORKS.Process(
                target=_serve, args=(number, FIRST + ranks, str(path), timeout, there), daemon=True
            )
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    def ask(self, work, *arguments):
        """Let every rank do `work(group, *arguments)`."""
        for pipe in self._pipes[FIRST:]:
            pipe.send((work, arguments))

    def answer(self, rank):
        """(did it work?, what it gave, or its error in words)"""
        pipe = self._pipes[FIRST + rank]
        try:
            assert pipe.poll(120), "no answer"
            return pipe.recv()
        except EOFError:
            return False, GONE

    def try_all(self, work, *arguments):
        """The answers of all ranks."""
        self.ask(work, *arguments)
        return [self.answer(rank) for rank in range(len(self._pipes) - FIRST)]

    def __call__(self, work, *arguments):
        """What `work(group, *arguments)` gives on each rank."""
        answers = self.try_all(work, *arguments)
        assert all(worked for worked, _ in answers), answers
        return [answer for _, answer in answers]

    def close(self):
        for process in self._processes:
            process.kill()
            process.join()


@contextmanager
def processes(ranks, folder, timeout=60):
    """So many ranks, as long as the `with` lasts; `timeout` of their group in seconds."""
    them = Processes(ranks, folder / "store", timeout)
    try:
        yield them
    finally:
        them.close()
