"""Side-by-side measurements; each is a command that writes its metrics to ``results/``."""
