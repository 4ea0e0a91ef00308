"""Train a run: `python -m trainer RUN.json`, or on N ranks `torchrun --nproc-per-node N -m trainer
RUN.json`.

Goes on from the last checkpoint; a finished run says so at once. SIGTERM, SIGINT and SIGUSR1 save a
checkpoint and end it. Exit codes: 0 done or stopped, 2 bad input, 1 anything else; each failure is
one sentence. The traceback of one that nobody foresaw goes to trainer-error.log beside run.json
(MMBERT_DEBUG=1 prints it).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import torch

from schemas.errors import UserError
from trainer.distributed import join, leave, tells_of_a_dead_rank
from trainer.failure import TrainingFailure
from trainer.loop import train
from trainer.report import trackers
from trainer.session import chosen, open_session

ECHO_S = 2.0
DEAD_RANK = (
    "another rank has died or stopped answering, for a reason that stands in its own output; "
    "run the same command to go on from the last checkpoint"
)


def main() -> None:
    options = _parser().parse_args()
    if options.threads or "LOCAL_WORLD_SIZE" in os.environ:
        torch.set_num_threads(options.threads or _share_of_cores())
    try:
        trackers.require(options.track)
        ranks = join(options.device)
        url, every_s = _absolute(options.run), options.checkpoint_every_s
        most_tokens = options.micro_batch_tokens
        session = open_session(url, ranks, every_s, options.store, most_tokens)
        with trackers.mirrored(session.log, options.track, session.folder):
            sentence = train(session, chosen(session.run, options.phase))
        leave()
    except UserError as error:
        _fail(str(error), 2)
    except TrainingFailure as error:
        _fail(str(error), 1)
    except Exception as error:
        if isinstance(error, RuntimeError) and tells_of_a_dead_rank(error):
            _fail(DEAD_RANK, 1, 0)
        _fail(_unforeseen(error, options.run), 1)
    if ranks.first:
        print(f"mmbert: {sentence}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer", description="Train a run, or go on with it."
    )
    parser.add_argument("run", help="path of run.json")
    parser.add_argument("--phase", help="train this phase only")
    parser.add_argument("--checkpoint-every-s", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: a GPU if there is one")
    parser.add_argument("--threads", type=int, help="CPU threads of a rank")
    parser.add_argument(
        "--micro-batch-tokens",
        type=int,
        metavar="TOKENS",
        help="cut packs into parts of so many tokens, to fit the device's memory; default: no cut",
    )
    parser.add_argument("--store", help="the store, if run.json does not lie in it")
    parser.add_argument(
        "--track",
        action="append",
        default=[],
        choices=trackers.NAMES,
        help="mirror the log to this tracker, too; may be repeated",
    )
    return parser


def _absolute(url: str) -> str:
    return url if "://" in url else str(Path(url).absolute())


def _share_of_cores() -> int:
    """torchrun would give each rank one thread, whatever the machine has."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ["LOCAL_WORLD_SIZE"]))


def _unforeseen(error: Exception, run_json: str) -> str:
    """A sentence on an error of the program; the traceback goes to a file beside run.json."""
    told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if not os.environ.get("MMBERT_DEBUG"):
        where = Path(run_json).with_name("trainer-error.log")
        with suppress(OSError), where.open("a") as log:  # of all ranks
            log.write("".join(traceback.format_exception(error)))
            return f"{told}; the traceback is in {where}"
    traceback.print_exception(error)
    return told


def _fail(sentence: str, code: int, patience_s: float = ECHO_S) -> NoReturn:
    """Print the sentence and leave at once: a communicator that lost a rank may never shut down.

    Ranks mostly fail alike. The first says so; the others speak only if torchrun does not end them
    for its failure, so that one failure is one sentence.
    """
    if int(os.environ.get("RANK", "0")):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(patience_s)
    print(f"mmbert: {sentence}", file=sys.stderr, flush=True)
    os._exit(code)


if __name__ == "__main__":
    main()
