"""Training tasks: what is trained, on which examples, and how a batch becomes a loss."""
