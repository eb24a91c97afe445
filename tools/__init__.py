"""Commands that write tables, pictures and pages from ``results/`` and the notebooks."""
