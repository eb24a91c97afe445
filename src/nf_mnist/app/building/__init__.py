"""From a configuration to built objects: flow and dequantizer, images, and what trains them."""

from nf_mnist.app.building.flow import build_dequantizer, build_flow
from nf_mnist.app.building.images import build_datamodule, load_split, record_images
from nf_mnist.app.building.modules import build_classifier_module, build_module
from nf_mnist.app.building.trainer import build_trainer

__all__ = [
    "build_classifier_module",
    "build_datamodule",
    "build_dequantizer",
    "build_flow",
    "build_module",
    "build_trainer",
    "load_split",
    "record_images",
]
