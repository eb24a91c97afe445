"""Training with Lightning: modules, data module, loaders, callbacks and the loop from a start to the best checkpoint.

Loaders, schedule, seeds and the optimizer Muon do not import Lightning. They are here because only trainings use
them. This file imports nothing, so that reading a checkpoint does not cost the import of Lightning.
"""
