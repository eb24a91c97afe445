"""What writes tables, pictures and pages from ``results/``."""
