"""What a Prefect server has to know before anybody can run something from its UI.

    PREFECT_API_URL=http://SERVER:4200/api python -m flows.serve.register STORE

Makes the work pool `mmbert`, the deployments with their forms, and the automations, for a store;
what is there already keeps what somebody has set in the UI. A server has the deployments of one
store (flows/serve/deployments.py).
"""

from __future__ import annotations

import sys

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


if __name__ == "__main__":
    (url,) = sys.argv[1:]
    try:
        print(f"registered for {url}: {', '.join(register(Store.at(url)))}")
    except UserError as error:
        print(f"mmbert: {error}", file=sys.stderr)
        sys.exit(2)
