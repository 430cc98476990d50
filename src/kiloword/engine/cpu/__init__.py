"""What makes drawing fast on a CPU: fused stack, single token, packed matrices."""
