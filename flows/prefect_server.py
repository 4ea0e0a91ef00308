"""Prefect's command line, with a server that loses no click on SQLite.

    python -m flows.prefect_server server start ...     as `prefect server start ...`

SQLite lets one transaction write at a time, and refuses one at once that has read before another
wrote: no timeout helps there. Prefect's transactions begin with reading, so of two that meet one
fails; its clients ask again, its UI does not, and what somebody has just sent off in a form is
lost. Here each waits for its turn when it begins. Postgres has no such lock; nothing changes there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect.cli import app
from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

plain = AioSqliteConfiguration.begin_transaction


@asynccontextmanager
async def in_turn(
    self: AioSqliteConfiguration, session: AsyncSession, with_for_update: bool = False
) -> AsyncIterator[AsyncSessionTransaction]:
    """A transaction that may write from its first statement on."""
    if SQLITE_BEGIN_MODE.get() is not None:  # inside another one: its turn is there already
        async with plain(self, session, with_for_update) as transaction:
            yield transaction
        return
    before = SQLITE_BEGIN_MODE.set("IMMEDIATE")
    try:
        async with session.begin() as transaction:
            await session.connection()  # BEGIN is sent now
            SQLITE_BEGIN_MODE.set("DEFERRED")  # of sessions inside this one
            yield transaction
    finally:
        SQLITE_BEGIN_MODE.reset(before)


AioSqliteConfiguration.begin_transaction = in_turn  # type: ignore[method-assign]

if __name__ == "__main__":
    app()
