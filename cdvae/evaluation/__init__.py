"""Measures for the three tasks of the paper: reconstruction, generation, optimization."""
