"""What ranks agree on before they work together."""

import multiprocessing
import os
from multiprocessing.queues import SimpleQueue

from tests.ranks import free_port
from trainer.distributed import join, leave
from trainer.failure import TrainingFailure


def compare(rank: int, port: int, digest: str, said: SimpleQueue) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank)}
    ranks = join("cpu")
    ranks.require_equal("ab" * 32, "the plan of window 3")
    try:
        ranks.require_equal(digest, "the plan of window 4")
    except TrainingFailure as error:
        said.put(str(error))
    ranks.wait()
    leave()


def test_ranks_that_plan_differently_all_stop():
    context = multiprocessing.get_context("forkserver")
    said, port = context.SimpleQueue(), free_port()
    args = [(0, port, "00" * 32, said), (1, port, "01" * 32, said)]
    processes = [context.Process(target=compare, args=a) for a in args]
    for process in processes:
        process.start()
    sentences = [said.get(), said.get()]
    for process in processes:
        process.join()
    assert all("the plan of window 4 differs" in sentence for sentence in sentences)
