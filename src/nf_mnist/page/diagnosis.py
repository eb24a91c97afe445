"""What the tab Diagnose shows: the checks as they are done, and then the report."""

from collections.abc import Iterator
from html import escape

from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.cures import cure_commands
from nf_mnist.app.diagnosis import load_diagnosis_task
from nf_mnist.diagnostics import CHECKS, answer, diagnose
from nf_mnist.diagnostics.report.html import page

N_IMAGES, BATCH = 100, 50


def diagnosis_figures(cfg: DictConfig, title: str) -> Iterator[str]:
    """Yield a line for each check that is done, and at the end the report, as HTML.

    The flow is loaded anew, since checks change what they look at for a while.

    Args:
        cfg: The settings of ``play``.
        title: Name of what is diagnosed.
    """
    settings = {
        **{key: cfg[key] for key in ("ckpt", "trust", "device")},
        **{"flow": {"_target_": None}, "data": None, "split": "validation", "seed": 0},
        **{"n_images": N_IMAGES, "batch_size": BATCH},
    }
    yield "<p>loading</p>"
    task, n_parameters, trained = load_diagnosis_task(OmegaConf.create(settings))
    results = []
    for result in diagnose(task, CHECKS):
        results.append(result)
        yield f"<p>{len(results)} of {len(CHECKS)}: {escape(result.check)}: {result.status}</p>"
    about = {"flow": title, "split": "validation", "n_images": N_IMAGES, "parameters": n_parameters}
    report = escape(page(about, results, {}, cure_commands(results, trained)))
    yield f'<p>{escape(answer(results))}</p><iframe title="report" srcdoc="{report}"></iframe>'
