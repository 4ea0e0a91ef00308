"""Several hosts run the same command, and each finds its own place in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.job import Profile
from flows.launch import command
from flows.launch.torchrun import log_name, own_place, settings
from schemas.errors import UserError
from schemas.profile import Training

ELSEWHERE = "192.0.2.1"  # of a network that exists in documents only


def test_a_host_finds_its_place_by_its_own_address() -> None:
    for place, hosts in enumerate((["127.0.0.1", ELSEWHERE], [ELSEWHERE, "127.0.0.1"])):
        profile = Profile(nproc=1, train=Training(hosts=tuple(hosts)))
        words = command(Path("run.json"), None, profile)
        assert words[words.index("--node-rank") + 1] == str(place)
        assert words[words.index("--master-addr") + 1] == hosts[0]
        assert words[words.index("--nnodes") + 1] == "2"
        assert log_name(profile) == "trainer-127.0.0.1.log"
        assert settings(profile)["GLOO_SOCKET_IFNAME"] == "lo"


def test_a_machine_that_is_not_in_the_list_is_told() -> None:
    with pytest.raises(UserError, match=r"none of 192.0.2.1 is an address of this machine"):
        own_place([ELSEWHERE])
    with pytest.raises(UserError, match=r"no host .nowhere.invalid. is known"):
        own_place(["nowhere.invalid"])


def test_one_machine_needs_torchrun_for_several_processes_only() -> None:
    assert "torch.distributed.run" not in command(Path("run.json"), None, Profile(nproc=1))
    words = command(Path("run.json"), None, Profile(nproc=2))
    assert words[words.index("--nproc-per-node") + 1] == "2"
    assert "--standalone" in words
