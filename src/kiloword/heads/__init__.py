"""Heads: token embeddings at the transformer's entrance, losses and sampling at its output."""
