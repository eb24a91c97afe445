"""What ten minutes of a real GPU say: ``python -m benchmarks.gpu``."""
