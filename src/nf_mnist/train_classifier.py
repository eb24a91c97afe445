"""Train the classifier that scores samples: ``python -m nf_mnist.train_classifier``."""

import time
from pathlib import Path

from omegaconf import DictConfig

from nf_mnist.app.building import build_classifier_module, build_datamodule, build_trainer
from nf_mnist.app.command import command
from nf_mnist.app.settings import check_training
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.hardware import describe, keep_freed_memory
from nf_mnist.metrics import count_parameters
from nf_mnist.runs.lock import lock_folder
from nf_mnist.runs.resume import check_free


@command("train_classifier")
def main(cfg: DictConfig) -> float:
    """Train for a fixed budget, measure the last weights; return the accuracy on the test images."""
    check_training(cfg)
    with lock_folder(run_dir := Path(cfg.run_dir), "run"):
        check_free(run_dir, ckpt=None)
        return _train(cfg, run_dir)


def _train(cfg: DictConfig, run_dir: Path) -> float:
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    keep_freed_memory()
    datamodule = build_datamodule(cfg)
    datamodule.setup()
    module = build_classifier_module(cfg)
    trainer = build_trainer(cfg)
    begin = time.monotonic()
    trainer.fit(module, datamodule=datamodule)
    seconds = time.monotonic() - begin
    (validated,) = trainer.validate(module, datamodule=datamodule, verbose=False)  # a budget may end within an epoch
    trainer.save_checkpoint(checkpoint)
    classifier, test = module.classifier.eval(), datamodule.test
    is_right = classifier.probabilities(test.levels).argmax(1) == test.labels
    metrics = {
        "validation_accuracy": validated["val/accuracy"],
        "test_accuracy": float(is_right.double().mean()),
        "n_test_images": len(is_right),
        "parameters": count_parameters(classifier),
        "seed": cfg.seed,
        "epochs": trainer.current_epoch,
        "training_seconds": seconds,
        "hardware": describe(trainer.strategy.root_device),
    }
    write_json(run_dir / "metrics.json", metrics)
    print(f"test accuracy {metrics['test_accuracy']:.2%} after {seconds / 60:.1f} min; {checkpoint}")
    return metrics["test_accuracy"]


if __name__ == "__main__":
    main()
