"""Methods that complete images, one family a file; :mod:`nf_mnist.inpainting` exports them."""
