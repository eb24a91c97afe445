"""Checkpoints: reading them safely, released weights, trusted targets, atomic writing."""
