"""The committed records as tables, on the page `records` and where other pages ask for one, as the site is built.

A page asks for the tables of a record with a comment in a line of its own: ``<!-- tables of bench_regions.json -->``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linalg_cnn.files import read_json

RECORDS = Path(__file__).parents[1] / "records"
MEASURED_ON = ("hardware", "versions", "settings")
WORDS = {
    "as_trained": "accuracy as trained",
    "batch_statistics": "accuracy with batch statistics",
    "compile_backend": "backend of torch.compile",
    "cpu_capability": "instructions",
    "dataset": "data set",
    "gpu": "GPU",
    "held_out_images": "held-out images",
    "images": "training images",
    "in_shape": "shape of an input",
    "memory_kept": "freed memory kept",
    "microseconds_per_image": "us per image",
    "quick": "small sizes only",
    "recalibrated": "accuracy, recalibrated",
    "resnet": "ResNet",
    "resnet_epochs": "epochs of the ResNet",
    "seconds_each": "seconds per measurement",
    "spread_microseconds": "IQR, us",
    "stem_stride": "stride of the first convolution",
    "train_accuracy": "training accuracy",
    "trained_epochs": "epochs",
}
"""What readers call a key of a record, where it is not the key without its underscores."""

NUMBER = re.compile(r"[-+]?[\d,]*\.?\d*(e[-+]\d+)?%?( \([^)]*\))?")
ASKED_FOR = re.compile(r"^<!-- tables of (\w+\.json) -->$", re.MULTILINE)


def page(folder: Path = RECORDS) -> str:
    """Return all records as Markdown: one section each, with its tables, hardware, versions and settings."""
    sections = []
    for path in sorted(folder.glob("*.json")):
        sections += [f"## {title(path.stem)}", shown(path)]
    return "\n\n".join(sections)


def shown(path: Path) -> str:
    """Return a record as Markdown: its tables, hardware, versions and settings, and a link to its file."""
    record = read_json(path)
    file = f"The record: {{download}}`{path.name} <records/{path.name}>`."
    return "\n\n".join([tables(record), measured_on(record), file])


def filled_in(text: str, folder: Path = RECORDS) -> str:
    """Return a page with the tables that it asks for; a record that has not been measured yet is left out."""

    def found(asked: re.Match[str]) -> str:
        path = folder / asked[1]
        return shown(path) if path.exists() else "There is no record of this version yet."

    return ASKED_FOR.sub(found, text)


def title(stem: str) -> str:
    """Return a record's name as a heading.

    Examples
    --------
    >>> title("figure3_learning_rate_1e-3"), title("bench_collapse_h200"), title("demo_mnist")
    ('Figure 3, learning rate 1e-3', 'Benchmark: collapse, on an H200', 'Demo, mnist')
    """
    head, _, rest = stem.partition("_")
    figure = re.fullmatch(r"figure(\d+)", head)
    name = f"Figure {figure[1]}" if figure else "Benchmark" if head == "bench" else head.capitalize()
    rest = re.sub(r"_?h200$", ", on an H200", rest).replace("_", " ")
    return name + (": " if head == "bench" else "" if rest.startswith(",") else ", ") * bool(rest) + rest


def tables(record: dict[str, Any]) -> str:
    """Return the tables that the command which wrote a record prints, or all of its numbers if there is none."""
    from gpu.bench.registry import BENCHMARKS
    from gpu.experiments.tables import format_experiment
    from gpu.settings import EXPERIMENTS

    experiment = record.get("experiment", "")
    known = {benchmark.experiment: benchmark.show for benchmark in BENCHMARKS.values()}
    if experiment in EXPERIMENTS:
        return format_experiment(record)
    if experiment in known:
        return known[experiment](record)
    if "parameters_collapsed" in record:
        return "\n\n".join(demo(record))
    return "\n\n".join(plain(record))


def demo(record: dict[str, Any]) -> Iterator[str]:
    """Yield the record of the demo, which names no experiment: network and map side by side, then the training."""
    times, spreads = record["microseconds_per_image"], record["spread_microseconds"]
    rows: list[dict[str, Any]] = [
        {"": name, "network": record[f"{key}_network"], "W x + B": record[f"{key}_collapsed"]}
        for name, key in (("parameters", "parameters"), ("held-out accuracy", "validation_accuracy"))
    ]
    rows[1] |= {name: f"{value:.1%}" for name, value in rows[1].items() if name}
    for size, measured in times.items():
        cells = {"network": "network", "W x + B": "collapsed"}
        shown = {name: f"{measured[key]:,.2f} ({spreads[size][key]:.2g})" for name, key in cells.items()}
        rows.append({"": f"us per image, batch of {size} (IQR)"} | shown | {"times faster": record["speedup"][size]})
    yield table(rows)
    yield (
        f"The same class on {record['predictions_agree']:,} of {record['images_compared']:,} images; scores differ by "
        f"at most {record['max_abs_difference']:.1e}."
    )
    yield from plain({"training": record["training"]})


def plain(record: dict[str, Any]) -> Iterator[str]:
    """Yield all numbers of a record: single numbers in one table, and each list of rows in a table of its own."""
    single = flat({key: value for key, value in record.items() if key not in {*MEASURED_ON, "experiment", "sha256"}})
    if single:
        yield table([{"": name, "value": value} for name, value in single.items()])
    for key, value in record.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            rows = [flat(row) for row in value]
            if "accuracy" in key:
                rows = [{name: percent(entry) for name, entry in row.items()} for row in rows]
            yield f"**{words(key).capitalize()}**\n\n{table(rows)}"


def words(key: str) -> str:
    """Return the name that a reader uses for a key of a record, with its unit.

    Examples
    --------
    >>> words("spread_microseconds"), words("64"), words("training_images")
    ('IQR, us', 'batch of 64', 'training images')
    """
    return f"batch of {key}" if key.isdecimal() else WORDS.get(key, key.replace("_", " "))


def flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested values as a flat dict whose keys join the names on their path; lists are left out.

    Examples
    --------
    >>> flat({"seconds": 3, "microseconds_per_image": {"1": 0.5}, "train_accuracy": 0.97, "rows": []})
    {'seconds': 3, 'us per image, batch of 1': 0.5, 'training accuracy': '97.0%'}
    """
    found: dict[str, Any] = {}
    for key, entry in value.items():
        name = f"{before}{words(key)}"
        if isinstance(entry, dict):
            found |= flat(entry, f"{name}, ")
        elif not isinstance(entry, list):
            found[name] = percent(entry) if "accuracy" in name else entry
    return found


def percent(value: object) -> object:
    """Return a share as a percentage, and anything but a float as it is."""
    return f"{value:.1%}" if isinstance(value, float) else value


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table with one column for each key that occurs; numbers are aligned to the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    numbers = {name: all(NUMBER.fullmatch(cell(row.get(name))) for row in rows) for name in names}
    lines = [names, ["---:" if numbers[name] else "---" for name in names]]
    lines += [[cell(row.get(name)) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: object) -> str:
    r"""Return a value as a cell of a table.

    Examples
    --------
    >>> cell(1234567), cell(0.000123456), cell(None), cell("a | b")
    ('1,234,567', '0.0001235', '', 'a \\| b')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value).replace("|", r"\|")


def joined(value: Any) -> Any:
    """Return the values that trials differ in as one text, and anything else as it is."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def measured_on(record: dict[str, Any]) -> str:
    """Return hardware, settings and versions as a folded table."""
    rows = []
    for part in ("hardware", "settings"):
        named = flat({key: joined(value) for key, value in record.get(part, {}).items()})
        rows += [{"": name, "value": value} for name, value in named.items()]
    if versions := record.get("versions"):
        rows.append({"": "versions", "value": ", ".join(f"{name} {version}" for name, version in versions.items())})
    return f"<details><summary>Measured on</summary>\n\n{table(rows)}\n\n</details>" if rows else ""


def fill_in(app: Any, docname: str, source: list[str]) -> None:
    """Append all tables to the text of records.md, and put those that another page asks for in their place."""
    for name in ASKED_FOR.findall(source[0]):
        app.env.note_dependency(str(RECORDS / name))
    source[0] = filled_in(source[0])
    if docname == "records":
        for path in RECORDS.glob("*.json"):
            app.env.note_dependency(str(path))
        source[0] += "\n" + page()


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True}
