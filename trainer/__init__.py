"""Manifests to weights: the data order, the model, the loop, and the way in and out of transformers."""
