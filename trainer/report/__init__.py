"""What a run shows of itself: exposure by language, curves, an HTML page and model cards."""
