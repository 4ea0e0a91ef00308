"""Prefetching changes nothing that the consumer sees, and leaves no thread behind."""

import threading
from collections.abc import Iterator

import pytest

from trainer.prefetch import prefetch


def threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


@pytest.mark.parametrize("depth", [1, 3])
def test_the_same_items_in_the_same_order(depth: int) -> None:
    assert list(prefetch(iter(range(100)), depth)) == list(range(100))
    assert threads() == 0


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise RuntimeError("broken shard")

    items = prefetch(failing(), 2)
    assert next(items) == 1
    with pytest.raises(RuntimeError, match="broken shard"):
        next(items)
    assert threads() == 0


def test_nothing_runs_before_the_first_item_is_asked_for() -> None:
    made = []
    items = prefetch((made.append(i) for i in range(3)), 2)
    assert (made, threads()) == ([], 0)
    items.close()


def test_it_runs_ahead_no_further_than_its_depth() -> None:
    reached = threading.Semaphore(0)
    made = []

    def counting() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            reached.release()
            yield i

    items = prefetch(counting(), 2)
    assert next(items) == 0
    for _ in range(3):  # one taken, two made ahead
        assert reached.acquire(timeout=10)
    assert not reached.acquire(timeout=0.05)
    items.close()
    assert len(made) <= 4
    assert threads() == 0


@pytest.mark.parametrize("taken", [1, 2, 5])
def test_closing_it_stops_the_thread(taken: int) -> None:
    items = prefetch(iter(range(10)), 1)
    for _ in range(taken):
        next(items)
    assert threads() == 1
    items.close()
    assert threads() == 0
