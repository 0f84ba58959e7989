"""The records of benchmarks as Markdown tables, with the machine beneath."""

from typing import Any

from gpu.bench.measurements import Record
from gpu.runtime.machine import describe_machine
from gpu.runtime.tables import markdown_table
from linalg_cnn.types import size_of


def format_predict(record: Record) -> str:
    """Return the record of ``bench predict`` as Markdown."""
    found, kept, settings = record["from_bytes"], record.get("from_bytes_memory_kept"), record["settings"]
    lines = [
        f"{found['images']:,} images of {size_of(settings['in_shape'])} bytes, from bytes to scores, all ways in turn "
        f"in each of {settings['runs']} runs:",
        "",
        *_from_bytes(found),
    ]
    if kept is not None:
        lines += ["", "The same while the C library keeps freed memory:", "", *_from_bytes(kept)]
    backend, error, single = found["way_taken"], found["relative_error"], found["batch_1"]
    predictor, linear = error
    lines += [
        "",
        f'The predictor chose the backend "{backend["way"]}" ({backend["reason"]}). Largest error, relative to the '
        f"largest score: {error[predictor]:.1e}; that of float32: {error[linear]:.1e}. A batch of one image: "
        f"{single[predictor]['microseconds']:.2f} us, {linear} {single[linear]['microseconds']:.2f} us.",
        "",
        f"Microseconds per image by batch size{', freed memory kept' if kept else ''}, the median of "
        f"{settings.get('copies', 1)} copies of each network; the paper's at 64, on {record['paper_hardware']}:",
        "",
        *_by_batch_size(record["rows"], settings["batch_sizes"]),
    ]
    return "\n".join([*lines, "", f"{describe_machine(record)}."])


def _from_bytes(found: dict[str, Any]) -> list[str]:
    """Return the ways from bytes to scores; the last column is the rate of the bytes that a way must read and write."""
    titles = ["way", "us per image", "IQR, us", "time / reading the bytes", "time / predictor"]
    rows = [
        (
            way,
            f"{row['microseconds_per_image']:.4f}",
            f"{row['spread']:.4f}",
            f"{row['times_reading']:.1f}",
            f"{row['times_predictor']:.2f}",
            *([f"{row['share_of_copying']:.0%}"] if "share_of_copying" in row else []),
        )
        for way, row in found["ways"].items()
    ]
    if len(rows[0]) > len(titles):
        titles.append("share of the bandwidth of copying")
    return markdown_table(titles, rows)


def _by_batch_size(measured: list[dict[str, Any]], sizes: list[int]) -> list[str]:
    """Return a row for each network and variant, with a column for each batch size."""
    table: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for row in measured:
        table.setdefault((row["network"], row["variant"]), {})[row["batch_size"]] = row
    rows = []
    for names, by_size in table.items():
        cells = [f"{by_size[size]['microseconds_per_image']:,.3g}" if size in by_size else "" for size in sizes]
        paper = next((f"{row['paper']}" for row in by_size.values() if row["paper"] is not None), "")
        rows.append([*names, *cells, paper])
    return markdown_table(["network", "variant", *(f"{size:,}" for size in sizes), "the paper's"], rows, (0, 1))


def format_collapse(record: Record) -> str:
    """Return the record of ``bench collapse`` as Markdown."""
    ways = record["ways"]
    lines = [
        f"{ways['network']}, float64:",
        "",
        *_ways_to_the_map(ways["rows"]),
        "",
        *_verdicts(record["verdicts"]),
        "",
        *_scaling_of_networks(record["scaling"]),
    ]
    if "large" in record:
        large = record["large"]
        title = f"{large['network']}, kept as two factors at its width of {large['width_of_cut']}:"
        lines += ["", title, "", *_factored(large)]
    lines += [
        "",
        f"{describe_machine(record, ('numpy', 'torch'))}; medians of up to {record['settings']['runs']} runs; a matrix "
        f"product runs at {ways['multiply_adds_per_second'] / 1e9:.1f} GMAC/s.",
    ]
    return "\n".join(lines)


def _ways_to_the_map(measured: list[dict[str, Any]]) -> list[str]:
    rows = [(row["way"], f"{1e3 * row['seconds']:,.1f}", f"{row['times_compose']:,.2f}") for row in measured]
    return markdown_table(("way", "ms", "time / composing"), rows)


def _verdicts(measured: list[dict[str, Any]]) -> list[str]:
    """Return the report's estimates of a prediction beside what was measured, with the estimate judged."""
    titles = ("batch", "network us per image, measured", "map, measured", "estimates of the report", "verdict")
    rows = []
    for row in measured:
        estimate = row["estimate"]
        right = "right" if estimate["cheaper"] == (row["after"] < row["before"]) else "WRONG"
        rows.append((
            f"{row['batch_size']}",
            f"{row['before']:,.1f}",
            f"{row['after']:,.2f}",
            f"{estimate['before']:,.1f}, {estimate['after']:,.2f}",
            f"{'cheaper' if estimate['cheaper'] else 'not cheaper'}, {right}",
        ))
    return markdown_table(titles, rows, (4,))


def _scaling_of_networks(measured: list[dict[str, Any]]) -> list[str]:
    titles = ("network", "image", "useful MACs", "compose ms", "jacrev ms", "times faster")
    rows = [
        (
            f"ResNet{row['depth']}",
            f"1x{row['side']}x{row['side']}",
            f"{row['useful_multiply_adds']:,}",
            f"{1e3 * row['compose_seconds']:,.1f}",
            f"{1e3 * row['jacrev_seconds']:,.1f}",
            f"{row['jacrev_seconds'] / row['compose_seconds']:.1f}",
        )
        for row in measured
    ]
    return markdown_table(titles, rows, (0, 1))


def _factored(large: dict[str, Any]) -> list[str]:
    """Return the cost of a map that is kept as two factors, beside autograd's."""
    composing = large["compose_seconds"]
    others = {
        "autograd, the whole, at its best chunk": large["autograd_seconds_whole"],
        "autograd, as many rows as the cut is wide": large["autograd_seconds_same_rows"],
        "floor": large["floor_seconds"],
    }
    rows = [
        (f"composing, {large['peak_bytes'] / 2**30:.1f} GiB at most", f"{composing:.1f}", "1"),
        *((way, f"{seconds:.1f}", f"{seconds / composing:.2f}") for way, seconds in others.items()),
    ]
    return markdown_table(("way", "seconds", "time / composing"), rows)


def format_architectures(record: Record) -> str:
    """Return the record of ``bench architectures`` as Markdown."""
    titles = ("network", "input", "tracing s", "composing s", "verifying s", "forward s", "verifying / bound")
    rows = [
        (
            row["network"],
            "x".join(map(str, row["in_shape"])),
            *(f"{row['seconds'][step]:.2f}" for step in ("tracing", "composing", "verifying")),
            f"{row['forward_seconds']:.2f}",
            f"{row['verifying_over_bound']:.1f}",
        )
        for row in record["rows"]
    ]
    return "\n".join([
        *markdown_table(titles, rows, (0, 1)),
        "",
        "The bound on the time of verifying is twice that of composing plus one forward pass of eight samples in the "
        f"network's dtype. {record['settings']['classes']} classes, random weights, linearised where they have "
        f"nonlinearities. {describe_machine(record)}; medians of {record['settings']['runs']} runs.",
    ])


def format_merge(record: Record) -> str:
    """Return the record of ``bench merge`` as Markdown."""
    first = {row["network"]: row for row in reversed(record["rows"])}
    rows = [
        (
            row["network"],
            row["variant"],
            f"{row['microseconds_per_image']:,.1f}",
            f"{row['spread']:,.1f}",
            f"{first[row['network']]['microseconds_per_image'] / row['microseconds_per_image']:.2f}",
            ", ".join(dict.fromkeys(row["forms"] or [])),
        )
        for row in record["rows"]
    ]
    return "\n".join([
        *markdown_table(("network", "variant", "us per image", "IQR, us", "times faster", "forms"), rows, (0, 1, 5)),
        "",
        f"Batches of {record['rows'][0]['batch_size']}, random weights. {describe_machine(record)}; medians of "
        f"{record['settings']['runs']} runs, all variants of a network in turn.",
    ])


def format_matrices(record: Record) -> str:
    """Return the record of ``bench matrices`` as Markdown."""
    return "\n".join([
        *_matrices(record["rows"]),
        "",
        *_scaling_of_matrices(record["scaling"]),
        "",
        f"{describe_machine(record)}; medians of {record['settings']['runs']} runs.",
    ])


def _matrices(measured: list[dict[str, Any]]) -> list[str]:
    titles = ("matrix", "entries", "ms", "time / copying it", "peak memory / result", "other ways, times slower")
    rows = []
    for row in measured:
        others = "; ".join(f"{name} {ratio:,.1f}" for name, ratio in row.get("others_times_slower", {}).items())
        rows.append((
            row["matrix"],
            f"{row['entries']:,}",
            f"{1e3 * row['seconds']:,.2f}",
            f"{row['times_copying_it']:.2f}",
            f"{row['peak_over_result']:.2f}",
            others or row.get("others_left_out", ""),
        ))
    return markdown_table(titles, rows, (0, 5))


def _scaling_of_matrices(measured: list[dict[str, Any]]) -> list[str]:
    titles = ("entries of a 16 -> 16 convolution", "ms", "ns per entry", "time / copying it")
    rows = [
        (
            f"{row['entries']:,}",
            f"{1e3 * row['seconds']:,.2f}",
            f"{row['nanoseconds_per_entry']:.1f}",
            f"{row['times_copying_it']:.2f}",
        )
        for row in measured
    ]
    return markdown_table(titles, rows, ())


def format_training(record: Record) -> str:
    """Return the record of ``bench training`` as Markdown."""
    titles = ("network", "plain loop, images/s", "Trainer, images/s", "times faster, median", "from, to")
    rows = []
    for row in record["rows"]:
        rates, (low, high) = row["images_per_second"], row["times_faster_from_to"]
        rows.append((
            row["network"],
            f"{rates['plain']:,.0f}",
            f"{rates['ours']:,.0f}",
            f"{row['times_faster']:.2f}",
            f"{low:.2f}, {high:.2f}",
        ))
    hardware, versions, settings = record["hardware"], record["versions"], record["settings"]
    return "\n".join([
        *markdown_table(titles, rows, (0, 4)),
        "",
        f"{hardware.get('gpu', hardware['processor'])}, {hardware['cores']} cores, {hardware['threads']} threads; "
        f"torch {versions['torch']}; batch {settings['batch_size']}, {settings['runs']} runs.",
    ])


def format_regions(record: Record) -> str:
    """Return the record of ``bench regions`` as Markdown."""
    maps, settings = record["local_maps"], record["settings"]
    images = maps["images"]
    ways = [
        (way.replace("_", " "), *(f"{1e3 * measured[what] / images:,.1f}" for what in ("seconds", "spread")))
        for way, measured in maps["seconds"].items()
    ]
    distances = [
        (
            row["norm"],
            f"{row['failure_probability']:g}",
            f"{row['seconds']:.2f}",
            f"{row['distance']:.2e}",
            f"{row['walls']:,}",
            f"{row['ties']:,}",
        )
        for row in record["distances"]
    ]
    titles = ("way", "regions", "seconds", "peak memory, GiB", "difference from the network", "complete")
    ways_through = [
        *((f"segment, {row['network']}", row, f"{row['reached']:.1%}") for row in record["segments"]),
        *((f"slice, {row['network']}", row, f"{row['areas']:.1%}") for row in record["slices"]),
    ]
    found = [
        (
            way,
            f"{row['regions']:,}",
            f"{row['seconds']:.2f}",
            f"{row['peak_bytes'] / 2**30:.1f}",
            f"{row['relative_error']:.1e}",
            complete,
        )
        for way, row, complete in ways_through
    ]
    sampling = record["sampling"]
    return "\n".join([
        f"{settings['network']}, {'x'.join(map(str, settings['in_shape']))}, {settings['dtype']}:",
        "",
        *markdown_table(("way to the local maps, one thread", "ms per image", "IQR, ms"), ways),
        "",
        f"The local maps take 1/{maps['times_autograd']:.1f} of the time of torch's vmap(jacrev), and differ from it "
        f"by {maps['difference_from_autograd']:.1e}; W x + B differs from the network by {maps['relative_error']:.1e}.",
        "",
        *markdown_table(
            ("norm", "failure probability", "seconds", "distance to the nearest wall", "walls", "through x"), distances
        ),
        "",
        *markdown_table(titles, found),
        "",
        "The memory is the peak of the process up to there. A segment is complete as far as it reaches, a slice as far "
        f"as its regions cover it. {sampling['samples']:,} samples of the segment of the {sampling['network']} take "
        f"{sampling['seconds']:.1f} s and miss {sampling['missed']:,} of its regions.",
        "",
        f"{describe_machine(record)}; medians of {settings['runs']} runs.",
    ])
