"""Say what is wrong with a flow, and what to try: ``python -m nf_mnist.diagnose ckpt=FILE``.

The module is also a function for notebooks: ``nf_mnist.diagnose(flow, images)``, which is
:func:`nf_mnist.app.notebook.diagnose_images`.
"""

from omegaconf import DictConfig

from nf_mnist.app.callable_module import make_callable
from nf_mnist.app.command import command
from nf_mnist.app.cures import cure_commands
from nf_mnist.app.diagnosis import load_diagnosis_task, print_results, write_report
from nf_mnist.app.notebook import diagnose_images
from nf_mnist.app.output import new_path
from nf_mnist.app.progress import progress_bar
from nf_mnist.app.settings import check_ranges, check_split
from nf_mnist.diagnostics import CHECKS, diagnose
from nf_mnist.hardware import keep_freed_memory


@command("diagnose")
def main(cfg: DictConfig) -> None:
    """Print the result of each check, then cause and remedy of each violation; write report.html and report.json."""
    check_ranges(cfg)
    check_split(cfg.split)
    out = new_path(cfg.out)
    task, n_parameters, trained = load_diagnosis_task(cfg)
    keep_freed_memory()
    results = list(diagnose(task, progress_bar("diagnosing")(CHECKS), cfg.check_seconds))
    about = {
        "flow": str(cfg.ckpt or cfg.flow._target_),
        "split": cfg.split,
        "n_images": len(task.batch.x),
        "seed": cfg.seed,
        "parameters": n_parameters,
    }
    commands = cure_commands(results, trained)
    out = write_report(out, about, results, task, commands)
    print_results(results, commands)
    print(f"with pictures: {out / 'report.html'}")


make_callable(__name__, diagnose_images)

if __name__ == "__main__":
    main()
