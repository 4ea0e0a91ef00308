"""A real Postgres in a folder, on loopback, for as long as a block runs.

`initdb` and `postgres` are looked for on the path and where Debian puts them. They refuse to run as
root; then they run as the user `postgres`, who must be able to reach the folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serving import until

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The connection URL, as Prefect takes it; skips the test where there is no Postgres."""
    search = os.pathsep.join([*map(str, reversed(DEBIAN)), os.environ.get("PATH", "")])
    initdb, server = shutil.which("initdb", path=search), shutil.which("postgres", path=search)
    if initdb is None or server is None:
        pytest.skip("no initdb and postgres here: install the package postgresql")
    user, demoted = None, {}
    if os.getuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("as root a Postgres needs a user `postgres`")
        demoted = {"user": user.pw_uid, "group": user.pw_gid}
    data = folder / "data"
    data.mkdir()
    if user:
        os.chown(data, user.pw_uid, user.pw_gid)
        for above in (folder, *folder.parents):
            if above.stat().st_uid == 0 and above != Path("/"):
                above.chmod(above.stat().st_mode | 0o011)
    command = [initdb, "-D", str(data), "-U", "mmbert", "--auth=trust", "--no-sync"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **demoted)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(data)]
    options += ["-c", "fsync=off"]
    with (folder / "postgres.log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-D", str(data), *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            **demoted,
        )
    try:
        until(lambda: _answers(port), "Postgres answers")
        yield f"postgresql+asyncpg://mmbert@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # its "fast" end
        process.wait(60)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
