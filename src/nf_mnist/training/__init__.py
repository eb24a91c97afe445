"""All that knows Lightning: module, data module, loader, callbacks, checkpoints.

Nothing is imported here, so that reading a checkpoint does not cost the import of Lightning.
"""
