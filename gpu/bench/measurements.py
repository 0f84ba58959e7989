"""The measurements in the records of benchmarks, by name. This module imports nothing heavy."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

Record = dict[str, Any]


class Measured(NamedTuple):
    """A time in seconds: the median of several runs, and their spread.

    The spread is the interquartile range of the runs, or their range if they were few; 0 for a single run.
    """

    seconds: float
    spread: float


Measurements = Iterator[tuple[str, Measured]]
"""Pairs of a name, unique in its record, and what was measured under it."""


def median_and_noise(values: Sequence[float], spreads: Sequence[float]) -> tuple[float, float]:
    """Return the median of repeated measurements, and the larger of their range and the median of their spreads.

    Parameters
    ----------
    values, spreads : sequence of float
        One value and its spread for each measurement.

    Examples
    --------
    >>> median_and_noise([10.0, 26.0, 11.0], [1.0, 2.0, 1.0])
    (11.0, 16.0)
    >>> median_and_noise([10.0], [1.0])
    (10.0, 1.0)
    """
    return median(values), max(max(values) - min(values), median(spreads))


def of_matrices(record: Record) -> Measurements:
    """Yield the measurements of ``bench matrices``."""
    for row in record["rows"]:
        yield row["matrix"], Measured(row["seconds"], row.get("spread", 0.0))
    for row in record["scaling"]:
        yield f"16 -> 16 convolution, {row['entries']:,} entries", Measured(row["seconds"], row.get("spread", 0.0))


def of_collapse(record: Record) -> Measurements:
    """Yield the measurements of ``bench collapse``."""
    network = record["ways"]["network"]
    for row in record["ways"]["rows"]:
        yield f"{network}: {row['way']}", Measured(row["seconds"], row.get("spread", 0.0))
    for row in record["verdicts"]:
        for what in ("before", "after"):
            name = f"prediction {what}, batch {row['batch_size']}, an image"
            yield name, _from_microseconds(row[what], row.get(f"{what}_spread", 0.0))
    for row in record["scaling"]:
        for what in ("compose", "jacrev"):
            name = f"ResNet{row['depth']}, 1x{row['side']}x{row['side']}: {what}"
            yield name, Measured(row[f"{what}_seconds"], row.get(f"{what}_spread", 0.0))


def of_architectures(record: Record) -> Measurements:
    """Yield the measurements of ``bench architectures``."""
    for row in record["rows"]:
        for step, seconds in row["seconds"].items():
            yield f"{row['network']}: {step}", Measured(seconds, row["spread"][step])


def of_merge(record: Record) -> Measurements:
    """Yield the measurements of ``bench merge``: seconds per image."""
    for row in record["rows"]:
        yield f"{row['network']}, {row['variant']}", _from_microseconds(row["microseconds_per_image"], row["spread"])


def of_training(record: Record) -> Measurements:
    """Yield the measurements of ``bench training``: seconds per epoch."""
    for row in record["rows"]:
        for loop, rate in row["images_per_second"].items():
            yield f"{row['network']}, {loop}", Measured(row["images"] / rate, row.get("spread", {}).get(loop, 0.0))


def of_regions(record: Record) -> Measurements:
    """Yield the measurements of ``bench regions``."""
    maps, network = record["local_maps"], record["settings"]["network"]
    for way, measured in maps["seconds"].items():
        yield f"{network}, {maps['images']} images: {way}", Measured(**measured)
    for row in record["distances"]:
        probability = f", failure probability {row['failure_probability']:.0e}" if row["failure_probability"] else ""
        yield f"{network}: distance, {row['norm']}{probability}", Measured(row["seconds"], row["spread"])
    for row in record["segments"]:
        yield f"{row['network']}: segment", Measured(row["seconds"], 0.0)
    for row in record["slices"]:
        yield f"{row['network']}: slice", Measured(row["seconds"], 0.0)
    sampling = record["sampling"]
    yield f"{sampling['network']}: {sampling['samples']:,} samples", Measured(sampling["seconds"], 0.0)


def of_predict(record: Record) -> Measurements:
    """Yield the measurements of ``bench predict``."""
    for found, words in ((record["from_bytes"], ""), (record.get("from_bytes_memory_kept"), ", memory kept")):
        if found is None:
            continue
        for way, row in found["ways"].items():
            name = f"many images, {way}{words}, an image"
            yield name, _from_microseconds(row["microseconds_per_image"], row["spread"])
        for way, row in found["batch_1"].items():
            yield f"one image, {way}{words}", _from_microseconds(row["microseconds"], row["spread"])
    yield from of_timing(record)


def of_timing(record: Record) -> Measurements:
    """Yield the measurements of ``experiment timing``, and of the rows of ``bench predict``."""
    for row in record["rows"]:
        name = f"{row['network']}, {row['variant']}, batch {row['batch_size']}, an image"
        yield name, _from_microseconds(row["microseconds_per_image"], row["spread"])


def _from_microseconds(value: float, spread: float) -> Measured:
    return Measured(1e-6 * value, 1e-6 * spread)
