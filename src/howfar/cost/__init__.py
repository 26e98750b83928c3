"""What a length costs: time, peak memory, operations, and how they grow. Knows no family."""
