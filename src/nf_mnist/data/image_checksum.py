"""A checksum of images, which tells whether a file still holds those that a flow was trained on."""

import hashlib

from nf_mnist.data.sets import ImageSet


def fingerprint(images: ImageSet) -> str:
    """Return the SHA-256 of all grey levels and labels of a set, with their shapes; a path has no part in it."""
    digest = hashlib.sha256()
    for part in images:
        for tensor in (part.levels, part.labels):
            digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
