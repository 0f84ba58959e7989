"""Records as Markdown tables, with the paper's numbers beside the measured ones."""

from typing import Any

from gpu.experiments.registry import experiment_of


def format_experiment(record: dict[str, Any]) -> str:
    """Return the tables of a record, then the trials that stopped early, and the data and machine it was measured on.

    Raises
    ------
    ValueError
        If the record is not of an experiment.
    """
    view = experiment_of(record).view
    stopped = [
        f"{series['name']}, seed {trial['seed']}: {trial['stopped']}"
        for series in record.get("series", [])
        for trial in series["trials"]
        if "stopped" in trial
    ]
    return "\n".join([*view.tables(record), "", *stopped, f"{view.conditions(record)}."])
