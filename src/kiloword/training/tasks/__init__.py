"""Training tasks: what is trained, on which rows of the data, and how a batch becomes a loss."""
