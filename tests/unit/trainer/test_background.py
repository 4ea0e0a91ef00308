"""Work beside a consumer: in order, in as many threads as it may have, no error lost."""

import threading
from threading import Barrier, Semaphore

import pytest

from trainer.background import Background


def threads() -> int:
    return sum(thread.name == "beside" for thread in threading.enumerate())


def test_all_items_in_order_and_no_thread_is_left() -> None:
    done: list[int] = []
    beside = Background("beside", done.append)
    for items in ([1, 2], [], [3]):
        beside.put(items)
    beside.finish()
    assert done == [1, 2, 3]
    beside.put([4])
    beside.finish()
    assert done == [1, 2, 3, 4]
    assert threads() == 0


def test_items_may_be_replaced_by_others() -> None:
    begun, go = Semaphore(0), Semaphore(0)
    done: list[int] = []

    def work(item: int) -> None:
        begun.release()
        go.acquire()
        done.append(item)

    beside = Background("beside", work)
    beside.put([1, 2, 3])
    begun.acquire()
    beside.put([4], instead=True)
    go.release(2)
    beside.finish()
    assert done == [1, 4]


def test_several_items_are_worked_on_at_once() -> None:
    met = Barrier(3)
    beside: Background[int] = Background("beside", lambda _: met.wait(30) and None, at_once=3)
    beside.put(range(6))
    assert threads() <= 3
    beside.finish()
    assert threads() == 0


def test_an_error_ends_the_work_and_is_raised_in_whoever_asks() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        done.append(1 // item)

    beside = Background("beside", work)
    beside.put([1, 0, 1])
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            beside.finish()
    with pytest.raises(ZeroDivisionError):
        beside.put([1])
    assert done == [1]
    assert threads() == 0
