"""One trainer at a time has a run's folder, and nobody who only looks keeps it out."""

from __future__ import annotations

import fcntl
from pathlib import Path
from threading import Timer

import pytest

from flows.going_on import at_work
from schemas.errors import UserError
from trainer.session import _claim


def test_a_glance_at_the_lock_keeps_no_trainer_out(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as glance:
        fcntl.flock(glance, fcntl.LOCK_SH)
        Timer(0.05, fcntl.flock, (glance, fcntl.LOCK_UN)).start()
        with _claim(tmp_path):
            assert at_work(tmp_path)
            with pytest.raises(UserError, match="another trainer is at work"):
                _claim(tmp_path)
    assert not at_work(tmp_path)
