"""A blind trial of the diagnosis: flows written by someone who has not read its checks."""
