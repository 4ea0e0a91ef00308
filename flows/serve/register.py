"""What a Prefect server has to know before anybody can run something from its UI.

    PREFECT_API_URL=http://SERVER:4200/api python -m flows.serve.register STORE

Makes the work pool `mmbert`, the deployments with their forms, and the automations, for a store;
what is there already keeps what somebody has set in the UI. A server has the deployments of one
store (flows/serve/deployments.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.server import API_URL, given_server
from schemas.errors import UserError
from schemas.store import Store


def register(store: Store, is_own: bool = False) -> list[str]:
    """Returns the names of the deployments; raises UserError where they are another store's, and
    Prefect's errors when no server answers. `is_own`: the server's database lies in the store."""
    from flows.serve import automations
    from flows.serve.deployments import POOL, deploy
    from flows.serve.worker import make_pool

    make_pool()
    names = deploy(store.url, is_own)
    automations.register(POOL)
    return names


def main(arguments: Sequence[str]) -> None:
    """Register on the server that PREFECT_API_URL names, by a profile of Prefect's or a variable;
    raises UserError where none answers."""
    from prefect.settings import PREFECT_API_URL

    if len(arguments) != 1:
        raise UserError(
            f"{len(arguments)} arguments where the URL of one store belongs; "
            "python -m flows.serve.register STORE"
        )
    (url,) = arguments
    os.environ.setdefault(API_URL, PREFECT_API_URL.value() or "")
    server = given_server(Path())
    if server is None:
        raise UserError(f"{API_URL} names no server to register on; set it to http://HOST:4200/api")
    if not server.answers():
        raise UserError(f"no Prefect server answers at {API_URL}={server.api_url}; start it")
    print(f"registered for {url}: {', '.join(register(Store.at(url)))}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"mmbert: {error}", file=sys.stderr)
        sys.exit(2)
