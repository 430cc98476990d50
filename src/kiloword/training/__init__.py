"""Training: one loop around any task, its optimiser, its moving average and its exact resume."""
