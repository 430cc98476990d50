"""The fast path: cache, batching, guidance, previews and edits, tested equal to the slow, clear way in `model.py`."""
