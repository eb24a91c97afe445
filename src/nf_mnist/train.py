"""Train a flow: ``python -m nf_mnist.train model=resflow trainer.devices=1``.

The module is also a function for notebooks: ``nf_mnist.train("resflow", max_time="00:00:01:00")``, which is
:func:`nf_mnist.runs.notebook.train_flow`.
"""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from nf_mnist.app.callable_module import make_callable
from nf_mnist.app.command import command
from nf_mnist.errors import NFMnistError
from nf_mnist.runs.notebook import train_flow
from nf_mnist.runs.rerun import repeat_run
from nf_mnist.runs.sweep import run_job
from nf_mnist.runs.training_run import run_training


@command("train")
def main(cfg: DictConfig) -> float | NFMnistError:
    """Train one run, repeat one, or start the job of a sweep in its own process.

    Returns:
        The least validation loss in nats per image. For a job without a result, its error; see
        :func:`~nf_mnist.runs.sweep.run_job`.
    """
    overrides = list(HydraConfig.get().overrides.task)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return run_job(cfg, overrides)
    if cfg.rerun is not None:
        return repeat_run(cfg, overrides)
    return run_training(cfg, overrides)


make_callable(__name__, train_flow)

if __name__ == "__main__":
    main()
