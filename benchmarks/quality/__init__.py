"""Quality of the models: the tables and plots of docs/benchmarks.md."""
