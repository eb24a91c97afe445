"""Images as uint8 levels: reading, augmenting, masking and dequantizing them."""

from nf_mnist.data.arrays import array_event_shape, array_file, own_images, write_arrays
from nf_mnist.data.augment import affine, random_distortion, random_maps, random_shift
from nf_mnist.data.dequantization_noise import draw_noise, evaluation_noise
from nf_mnist.data.dequantize import (
    DEQUANTIZERS,
    CP3Dequantizer,
    Dequantizer,
    GaussianDequantizer,
    NoDequantizer,
    UniformDequantizer,
    VariationalDequantizer,
    to_levels,
)
from nf_mnist.data.image_checksum import fingerprint
from nf_mnist.data.pictures import decode_png, read_picture
from nf_mnist.data.regions import HALVES, random_observed, region
from nf_mnist.data.sets import (
    Images,
    ImageSet,
    mnist,
    random_subset,
    split,
)
from nf_mnist.data.torchvision_sets import torchvision_set

__all__ = [
    "DEQUANTIZERS",
    "HALVES",
    "CP3Dequantizer",
    "Dequantizer",
    "GaussianDequantizer",
    "ImageSet",
    "Images",
    "NoDequantizer",
    "UniformDequantizer",
    "VariationalDequantizer",
    "affine",
    "array_event_shape",
    "array_file",
    "decode_png",
    "draw_noise",
    "evaluation_noise",
    "fingerprint",
    "mnist",
    "own_images",
    "random_distortion",
    "random_maps",
    "random_observed",
    "random_shift",
    "random_subset",
    "read_picture",
    "region",
    "split",
    "to_levels",
    "torchvision_set",
    "write_arrays",
]
