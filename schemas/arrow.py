"""Arrow columns as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def numbers(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Numbers without nulls; a view where they lie in one piece.

    pyarrow's own `to_numpy` imports pandas where that is installed: 0.4 s and 25 MB.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(array)
