"""What makes it fast on a CPU."""
