"""Ways in and out: `transformers` directories."""
