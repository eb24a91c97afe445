"""One builder a file: each returns a flow of its family, from sizes and an event shape.

Import them from :mod:`nf_mnist.flows`, where functions have these names: ``nf_mnist.flows.glow`` is a function.
"""
