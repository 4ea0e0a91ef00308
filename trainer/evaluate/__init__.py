"""What a model is worth: so far its bits per byte of held-out text."""
