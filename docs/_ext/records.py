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
    >>> title("figure3_learning_rate_1e-3")
    'Figure3, learning rate 1e-3'
    """
    words = stem.replace("_", " ").split()
    head = words[:1] if words[0].startswith("figure") else words
    rest = words[len(head) :]
    return " ".join(head).capitalize() + (", " + " ".join(rest) if rest else "")


def tables(record: dict[str, Any]) -> str:
    """Return the tables that the command which wrote a record prints, or all of its numbers if there is none."""
    from gpu.bench.registry import BENCHMARKS
    from gpu.experiments.tables import format_experiment
    from gpu.settings import EXPERIMENTS

    experiment = record.get("experiment", "demo")
    known = {benchmark.experiment: benchmark.show for benchmark in BENCHMARKS.values()}
    if experiment in EXPERIMENTS:
        return format_experiment(record)
    if experiment in known:
        return known[experiment](record)
    return "\n\n".join(plain(record))


def plain(record: dict[str, Any]) -> Iterator[str]:
    """Yield all numbers of a record: single numbers in one table, and each list of rows in a table of its own."""
    said = (*MEASURED_ON, "experiment")
    single = {key: value for key, value in flat(record).items() if key.split(", ")[0] not in said}
    if single:
        yield table([{"": key, "value": value} for key, value in single.items()])
    for name, value in record.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            yield f"**{name.replace('_', ' ').capitalize()}**\n\n" + table([flat(row) for row in value])


def flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested values as a flat dict whose keys join the keys on their path; lists are left out.

    Examples
    --------
    >>> flat({"seconds_each": 3, "us": {"1": 0.5}, "rows": []})
    {'seconds each': 3, 'us, 1': 0.5}
    """
    found: dict[str, Any] = {}
    for key, entry in value.items():
        name = f"{before}{key.replace('_', ' ')}"
        if isinstance(entry, dict):
            found |= flat(entry, f"{name}, ")
        elif not isinstance(entry, list):
            found[name] = entry
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table with one column for each key that occurs."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    numbers = {name: all(isinstance(row.get(name, 0), (int, float)) for row in rows) for name in names}
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
    """Return hardware, versions and settings as a folded table."""
    parts = {part: {name: joined(value) for name, value in record.get(part, {}).items()} for part in MEASURED_ON}
    rows = [{"": f"{part}, {name}", "value": str(value)} for part in parts for name, value in flat(parts[part]).items()]
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
