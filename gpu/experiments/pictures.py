"""Records as figures: PNG files for the command, pictures with a text alternative for notebooks."""

import io
from typing import Any

from matplotlib.figure import Figure

from gpu.experiments.registry import experiment_of
from gpu.runtime.results import record_read
from linalg_cnn.display.picture import Picture, figure_picture


def figure_of(record: dict[str, Any]) -> Figure:
    """Return the figure of a record, with the paper's numbers beside the measured ones.

    Raises
    ------
    TypeError
        If the record is not a dict.
    ValueError
        If it is not of an experiment.
    """
    figure = Figure(layout="constrained")
    experiment_of(record).view.draw(figure, record)
    return figure


def draw(record: dict[str, Any]) -> bytes:
    """Return the figure of a record as PNG, whose description is the data and machine it was measured on.

    Raises
    ------
    TypeError
        If the record is not a dict.
    ValueError
        If it is not of an experiment.
    """
    buffer = io.BytesIO()
    description = experiment_of(record).view.conditions(record)
    figure_of(record).savefig(buffer, format="png", dpi=144, metadata={"Description": description})
    return buffer.getvalue()


def record_picture(record: dict[str, Any]) -> Picture:
    """Return the figure of a record as a picture, with the paper's numbers beside the measured ones.

    Parameters
    ----------
    record : dict
        Record that ``linalg-cnn experiment`` wrote: ``figure1``, ``figure2``, ``figure3``, ``timing``,
        ``distillation``, ``schedules``, ``price`` or ``front``.

    Returns
    -------
    Picture
        Picture whose text alternative gives the first, the highest and the last point of each curve.

    Raises
    ------
    TypeError
        If the record is not a dict.
    ValueError
        If it is not of an experiment, or its entries are not those that the figure shows.

    Examples
    --------
    >>> import gpu
    >>> epochs = [{"epoch": n, "t": 0.5, "validation_accuracy": a} for n, a in [(1, 0.6), (2, 0.9)]]
    >>> settings = {"dataset": "mnist", "images": 4000, "epochs": 2, "trials": 1, "held_out_images": 2000}
    >>> record = {"experiment": "figure3", "settings": settings, "hardware": {"processor": "Xeon", "cores": 2},
    ...           "series": [{"name": "Static t", "trials": [{"epochs": epochs}]}]}
    >>> print(gpu.record_picture(record).alt)
    Validation accuracy by epoch. Static t: 60.0 % at 1, 90.0 % at 2 (the paper's: 96.2 % at 1, 98.6 % at 10). \
mnist, 4,000 images, 2 epochs, 1 trial, validated on 2,000; Xeon, 2 cores.
    """
    view = experiment_of(record).view
    with record_read(f"linalg-cnn experiment {record['experiment']}"):
        return figure_picture(figure_of(record), f"{view.words(record)} {view.conditions(record)}.")
