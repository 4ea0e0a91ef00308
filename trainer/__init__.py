"""Manifests to weights: data order, model, loop, and the way in and out of transformers."""
