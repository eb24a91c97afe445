"""nf_mnist: normalizing flows on MNIST, measured honestly."""

__version__ = "0.1.0"
