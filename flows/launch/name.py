"""What a scheduler calls a training: one name for each run, and never that of another store's.

The id of a run is a digest of its content, so two stores may hold the same one; where its run.json
lies tells them apart.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

PREFIX = "mmbert-"
SHOWN = 42  # letters of the run; with the digest 58 of the 63 of a DNS label: pods append numbers
DIGEST = 8


def name_of(run_json: Path, volume: str = "") -> str:
    """A label of DNS that begins with a letter. `volume`: what the path starts in, where paths of
    two volumes may be the same."""
    place = f"{volume}\0{run_json.resolve()}"
    run = re.sub(r"[^a-z0-9-]", "-", run_json.parent.name.lower())[-SHOWN:].strip("-")
    return f"{PREFIX}{run}-{sha256(place.encode()).hexdigest()[:DIGEST]}"
