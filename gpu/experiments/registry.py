"""The experiments by name: `gpu.settings.EXPERIMENTS` has the names, and a module here of that name defines each."""

from importlib import import_module
from typing import Any

from gpu.experiments.experiment import Experiment
from gpu.runtime.results import check_record
from gpu.settings import EXPERIMENTS
from linalg_cnn.checks import check_choice


def find_experiment(name: str) -> Experiment:
    """Return ``EXPERIMENT`` of the module in this folder that has the same name.

    Raises
    ------
    ValueError
        If there is no experiment of that name.

    Examples
    --------
    >>> find_experiment("figure2").epochs
    2
    """
    check_choice("name", name, EXPERIMENTS)
    experiment: Experiment = import_module(f"gpu.experiments.{name}").EXPERIMENT
    return experiment


def experiment_of(record: dict[str, Any]) -> Experiment:
    """Return the experiment that wrote a record.

    Raises
    ------
    TypeError
        If the record is not a dict.
    ValueError
        If there is no experiment of the name that the record gives, or it gives none.
    """
    check_record(record, "linalg-cnn experiment")
    if "experiment" not in record:
        raise ValueError("record: expected one that linalg-cnn experiment wrote, got one without 'experiment'")
    return find_experiment(check_choice("record['experiment']", record["experiment"], EXPERIMENTS))
