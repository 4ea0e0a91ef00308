"""FORMAT.md's test vectors are those that the code computes."""

import re
from pathlib import Path

from schemas.keyed import key64, keyed

FORMAT = (Path(__file__).parents[3] / "FORMAT.md").read_text(encoding="utf-8")


def test_the_vectors_of_the_format_hold() -> None:
    found = 0
    for calls, values in re.findall(r"^\| (`key.*?) \| (`.*?) \|$", FORMAT, re.MULTILINE):
        pairs = zip(re.findall("`(.*?)`", calls), re.findall("`(.*?)`", values), strict=True)
        for call, value in pairs:
            name, arguments = call[:-1].split("(", 1)
            if name == "key64":
                computed = key64(arguments.strip('"'))
            else:
                computed = keyed(*(int(part, 0) for part in arguments.split(",")))
            assert f"{computed:016x}" == value, call
            found += 1
    assert found == 8
