"""The paper's three tasks, measured: reconstruction, generation, property optimization."""
