"""Training: one loop around any lesson, its optimiser, its moving average and its exact resume."""
