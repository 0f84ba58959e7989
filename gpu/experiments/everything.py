"""``linalg-cnn experiment all``: the experiments of the paper's section 5 in turn, and how long each took."""

import time
from dataclasses import replace

from gpu.experiments.command import run_experiment
from gpu.experiments.experiment import Record
from gpu.runtime.devices import resolve_device
from gpu.runtime.machine import describe_hardware, describe_machine, describe_versions
from gpu.runtime.results import check_output_folder
from gpu.runtime.tables import markdown_table
from gpu.settings import ALL, SECTION_5, ExperimentSettings
from linalg_cnn.files import write_json


def run_all(settings: ExperimentSettings) -> tuple[Record, list[Record]]:
    """Run the experiments of section 5, or resume them; write their records, and ``all.json`` after each of them.

    Parameters
    ----------
    settings : ExperimentSettings
        Settings of every experiment; their results share the folder.

    Returns
    -------
    (dict, list of dict)
        The record of how long the experiments took, and the records of the experiments. An experiment is ``resumed`` if
        its record was there before; its seconds are then those of the rest.

    Raises
    ------
    ValueError
        If a setting is out of range or belongs to one experiment alone, or the file of a result was altered.
    OSError
        If a file cannot be read or written.
    RuntimeError
        If workers die three times in a row and no trial is finished.
    """
    if settings.series:
        raise ValueError(f"series: expected only with one experiment, got {', '.join(settings.series)} with {ALL}")
    device = resolve_device(settings.device)
    path = settings.out / f"{ALL}.json"
    check_output_folder(settings.out, [path.name])
    names = ("trials", "epochs", "subset", "held_out", "dataset", "batch_size", "learning_rate", "precision", "workers")
    record: Record = {
        "experiment": ALL,
        "settings": {name: getattr(settings, name) for name in names},
        "hardware": describe_hardware(device),
        "versions": describe_versions(),
        "rows": [],
    }
    records = []
    for name in SECTION_5:
        resumed = (settings.out / f"{name}.json").exists()
        start = time.perf_counter()
        records.append(run_experiment(replace(settings, name=name)))
        record["rows"].append({"experiment": name, "seconds": time.perf_counter() - start, "resumed": resumed})
        record["seconds"] = sum(row["seconds"] for row in record["rows"])
        write_json(path, record)
    return record, records


def format_times(record: Record) -> str:
    """Return how long the experiments took as Markdown.

    Parameters
    ----------
    record : dict
        Record of `run_all`.
    """
    rows = [(row["experiment"], f"{row['seconds']:,.0f}", "yes" if row["resumed"] else "") for row in record["rows"]]
    return "\n".join([
        *markdown_table(
            ("experiment", "seconds", "resumed"), [*rows, ("together", f"{record['seconds']:,.0f}", "")], {0, 2}
        ),
        "",
        f"{describe_machine(record)}; {record['settings']['workers']} at the same time.",
    ])
