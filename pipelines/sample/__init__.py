"""`mmbert sample DIR`: a corpus of made text in the formats of the real sources (see write.py)."""

from pipelines.sample.write import SampleReport, write_sample

__all__ = ["SampleReport", "write_sample"]
