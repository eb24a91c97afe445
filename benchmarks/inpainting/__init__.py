"""Benchmarks of inpainting: how good completions are, and how climbs reach them."""
