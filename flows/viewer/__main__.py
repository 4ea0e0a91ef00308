"""Look at a store in a browser: `python -m flows.viewer STORE [--host 127.0.0.1] [--port 4300]`.

Prints its address and answers until Ctrl-C. Exit codes: 0 done, 2 bad input.
"""

from __future__ import annotations

import argparse
import sys

from flows.viewer.auth import require_safe
from schemas.errors import UserError
from schemas.store import local_path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m flows.viewer", description="View a store.")
    parser.add_argument("store", help="a folder or any fsspec URL")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4300)
    options = parser.parse_args(arguments)
    try:
        require_safe(options.host)
        _require_store(options.store)
    except UserError as error:
        print(f"mmbert: {error}", file=sys.stderr)
        return 2
    import uvicorn

    from flows.viewer.app import create_app

    print(f"{options.store} at http://{options.host}:{options.port}", flush=True)
    app = create_app(options.store)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", server_header=False)
    return 0


def _require_store(url: str) -> None:
    """UserError for a file; a folder that is not there yet is an empty store."""
    path = local_path(url)
    if path is not None and path.is_file():
        raise UserError(f"{url} is a file; name the folder or the URL of a store")


if __name__ == "__main__":
    sys.exit(main())
