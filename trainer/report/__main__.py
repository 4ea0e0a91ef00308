"""Draw a run's report again: `python -m trainer.report RUN_FOLDER`, or `mmbert card RUN_FOLDER`.

Writes RUN_FOLDER/report/ from run.json, the manifests and log.jsonl, at any time, also of a run
that is still training; then the model cards of the models that are there. Exit codes: 0 done, 2
bad input.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from schemas.errors import UserError
from schemas.store import Store
from trainer.report.draw import redraw


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m trainer.report", description="Draw a run.")
    parser.add_argument("run", type=Path, help="the run's folder, STORE/runs/<name>")
    parser.add_argument("--store", help="the store, if the run does not lie in it")
    options = parser.parse_args()
    try:
        store = Store.at(options.store) if options.store else None
        print(redraw(options.run, store))
    except UserError as error:
        print(f"mmbert: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
