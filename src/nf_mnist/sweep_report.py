"""Report the runs of a sweep: ``python -m nf_mnist.sweep_report FOLDER``."""

import argparse
from pathlib import Path

from nf_mnist.app.command import fail, versions
from nf_mnist.errors import NFMnistError
from nf_mnist.process import handled_signals, keep_streams
from nf_mnist.runs.sweep.report import report_sweep


def main() -> None:
    """Print a table of the runs; write it, and a picture, into the folder of the sweep."""
    parser = argparse.ArgumentParser(prog="python -m nf_mnist.sweep_report", description=__doc__)
    parser.add_argument("--version", action="version", version=versions())
    parser.add_argument("folder", type=Path, help="the folder of the sweep: outputs/sweeps/NAME")
    keep_streams()
    try:
        with handled_signals():
            report_sweep(parser.parse_args().folder)
    except (NFMnistError, OSError) as error:
        fail(error)


if __name__ == "__main__":
    main()
