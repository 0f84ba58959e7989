"""``bench predict``: the latency of a prediction, compared with other runtimes and with reading the pixels."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import transforms

from gpu.bench.contenders import COMPILED, MAX_AUTOTUNE, Bind, contenders, networks
from gpu.bench.image_counts import PIXELS, fitting_in_floats, images_for
from gpu.bench.measurements import median_and_noise
from gpu.bench.measuring import measured_of, time_in_turn, time_runs
from gpu.bench.memory import keeps_memory, kept_memory
from gpu.collapsing.collapse import collapse
from gpu.experiments.paper_numbers import TIMING_HARDWARE, TIMINGS
from gpu.experiments.timing import IN_SHAPE
from gpu.models.shallow import three_layer_cnn
from gpu.predict import CapturedPrediction, Predictor
from gpu.runtime.devices import resolve_device
from gpu.runtime.precision import full_float32
from gpu.runtime.progress import Progress
from gpu.runtime.run import Run
from gpu.runtime.tables import in_a_line
from gpu.runtime.timing import microseconds_per_image

BATCH_SIZES = (1, 64, 1024, 10_000)
ROUNDS = 3
"""Number of copies of each network that are timed. The latency of a network larger than the cache varies by a factor of
up to three with where its weights lie in memory."""
MEAN, STD = 0.1307, 0.3081
"""Mean and standard deviation of MNIST's pixels in [0, 1], by which its networks usually normalise them."""
PAPER_BATCH = 64
"""The batch size of the paper's timings. On CUDA, it is the only one for which networks are compiled: each size is
another compilation."""
CAPTURED_IMAGES = 100_000
"""Number of images that are predicted as one CUDA graph."""
COMPARED_IMAGES = 10_000
"""Number of images whose scores are compared with the exact ones."""
COPYING = "copying the bytes"
READING = "reading the bytes"
PREDICTOR = "Predictor, bytes"
LINEAR = "nn.Linear(u.flatten(1).float())"
NORMALISED = "nn.Linear of (u.float() / 255 - mean) / std"


def bench_predict(
    *, quick: bool = False, device: str | None = None, keep: Path | None = None, progress: bool | Progress = True
) -> dict[str, Any]:
    """Run the benchmark and return its record.

    The number of images from bytes to scores follows from the bandwidth of the device (see `images_for`). The networks
    and the collapsed ``nn.Linear`` are given floats that already lie on the device, as in the paper's
    section 5.1. The predictor is given bytes as well, and the floor is the time that reading these bytes takes. The C
    library keeps freed memory during the measurements (`kept_memory`), which favours the networks; the time from bytes
    to scores is also measured without it. Each network is timed as `ROUNDS` copies at different places in memory.

    Parameters
    ----------
    quick : bool
        Use small sizes, to check that the benchmark runs.
    device : str, optional
        Name of the device. The default is CUDA if there is a CUDA device, and the CPU otherwise.
    keep : Path, optional
        File of the parts measured so far; a run with the same conditions goes on from it (see `Run`).
    progress : bool or Progress
        Whether to draw a progress bar on standard error, or the bar to continue.
    """
    where = resolve_device(device)
    sizes, seconds = ((4,), 0.01) if quick else (BATCH_SIZES, 0.5)
    backend = "eager" if quick else "inductor"
    found = networks(quick=quick)
    runs = 3 if quick else 11
    ways = 7 if where.type == "cuda" else 2 * 5  # in time_from_bytes, which runs twice on the CPU
    rounds = 1 if quick else ROUNDS
    settings = {
        "runs": runs,
        "copies": rounds,
        "batch_sizes": sizes,
        "in_shape": IN_SHAPE,
        "compile_backend": backend,
        "memory_kept": keeps_memory(),
        "quick": quick,
    }
    hardware = {"cpu_capability": torch.backends.cpu.get_cpu_capability()}
    timings = len(found) * len(sizes) + ways * (runs + 1)
    run = Run("bench predict", settings, where, timings, keep, progress, hardware)
    copied = run.part("bandwidth", lambda: copied_per_second(where, 2**20 if quick else 2**28, runs))
    images = 2_000 if quick else images_for(copied, where)
    measure = partial(time_from_bytes, where, images, runs, seconds, run.bar)
    rows: list[dict[str, Any]] = []
    left_out = []
    with full_float32():
        from_bytes = run.part("from bytes", measure)
        with kept_memory() as kept:
            from_bytes_kept = run.part("from bytes, memory kept", measure) if kept and where.type == "cpu" else None
            for name, module in found.items():
                variants = contenders(name, module.to(where), where, backend)
                for size in sizes:
                    batch = torch.rand(size, *IN_SHAPE, device=where)
                    for variant, bind in variants.items():
                        if where.type == "cuda" and variant.endswith((COMPILED, MAX_AUTOTUNE)) and size != PAPER_BATCH:
                            left_out.append(f"torch.compile: timed with batches of {PAPER_BATCH} only")
                            continue
                        timing = partial(time_copies, name, variant, bind, batch, seconds, rounds)
                        try:
                            rows.append(run.part(f"{name}, {variant}, batch {size}", timing))
                        except Exception as error:  # compilers and exporters raise errors of any kind
                            left_out.append(f"{name}, {variant}: {in_a_line(error)}")
                    run.bar.done(name)
    bytes_per_second = (from_bytes_kept or from_bytes)["bytes_per_second"]
    rows += [floor_of(size, where, bytes_per_second) for size in sizes]
    if where.type != "cuda":
        left_out.append("CUDA graphs, the Triton kernel: there is no CUDA device")
    return run.record(
        list(dict.fromkeys(left_out)),
        paper_hardware=TIMING_HARDWARE,
        from_bytes=from_bytes,
        from_bytes_memory_kept=from_bytes_kept,
        rows=rows,
    )


def copied_per_second(device: torch.device, size: int, runs: int) -> float:
    """Return the bytes that a device copies in a second, from one place in its memory to another.

    Parameters
    ----------
    device : torch.device
    size : int
        Number of bytes to copy; eight times as many on CUDA, whose caches are larger.
    runs : int
        Number of runs.
    """
    size *= 8 if device.type == "cuda" else 1
    source, target = (
        torch.ones(size, dtype=torch.uint8, device=device),
        torch.empty(size, dtype=torch.uint8, device=device),
    )
    return size / time_runs(lambda: target.copy_(source), runs, device).seconds


class Way(NamedTuple):
    """A way from bytes to scores.

    Attributes
    ----------
    call : callable
        Computes it for all its images.
    images : int
        Number of its images.
    bytes_per_image : int
        Bytes that any way to its result reads and writes for an image: the pixels, and the result.
    """

    call: Callable[[], Any]
    images: int
    bytes_per_image: int


def time_from_bytes(device: torch.device, images: int, runs: int, seconds_each: float, bar: Progress) -> dict[str, Any]:
    """Return the times of several ways to compute the scores of many images from their bytes.

    All ways compute the same function: a collapsed 3-layer CNN after the usual normalisation. They run in turn, on
    more bytes than the caches hold.

    Parameters
    ----------
    device : torch.device
        Device that predicts and that holds the pixels.
    images : int
        Number of images.
    runs : int
        Number of rounds in which every way runs once.
    seconds_each : float
        Seconds to spend on each timing of a single image.
    bar : Progress
        Progress bar, which advances with every run.
    """
    generator = torch.Generator(device).manual_seed(0)
    pixels = torch.randint(0, 256, (images, *IN_SHAPE), dtype=torch.uint8, device=device, generator=generator)
    normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize([MEAN], [STD])])
    network = three_layer_cnn().eval()
    raw, normalised = (collapse(network, IN_SHAPE, preprocess=p) for p in (normalise, None))
    linear, after = raw.module.to(device), normalised.module.to(device)
    predictor = Predictor(raw.affine, device=device)
    words = pixels.view(-1).view(torch.int64)
    copy = torch.empty_like(words)
    to_scores = PIXELS + 4 * raw.affine.out_size
    in_floats = min(images, fitting_in_floats(device))  # of the memory that pixels and copy have left
    ways = {
        COPYING: Way(lambda: copy.copy_(words), images, 2 * PIXELS),
        READING: Way(words.amax, images, PIXELS),
        PREDICTOR: Way(lambda: predictor(pixels), images, to_scores),
        LINEAR: Way(lambda: linear(pixels[:in_floats]), in_floats, to_scores),
        NORMALISED: Way(lambda: after((pixels[:in_floats].float() / 255 - MEAN) / STD), in_floats, to_scores),
    }
    if device.type == "cuda":
        some = pixels[:CAPTURED_IMAGES]
        captured = CapturedPrediction(predictor, some, 64)
        ways["Predictor, bytes to classes"] = Way(lambda: predictor.classes(pixels), images, PIXELS + 8)
        ways["Predictor, batches of 64 as one CUDA graph"] = Way(captured, len(some), to_scores)
    taken = time_in_turn({name: way.call for name, way in ways.items()}, runs, device, bar.done)
    seconds = {name: np.array(taken[name]) / way.images for name, way in ways.items()}
    rates = {name: way.bytes_per_image / measured_of(list(seconds[name])).seconds for name, way in ways.items()}
    compared = pixels[:COMPARED_IMAGES]
    exact = torch.from_numpy(raw.affine(compared.flatten(1).cpu().double().numpy()))
    largest = exact.abs().max()
    timings = {name: measured_of(list(values)) for name, values in seconds.items()}
    one, layer = pixels[:1], linear.layers[0]
    single = {
        PREDICTOR: microseconds_per_image(predictor, one, min_run_time=seconds_each),
        LINEAR: microseconds_per_image(lambda batch: layer(batch.flatten(1).float()), one, min_run_time=seconds_each),
    }
    return {
        "images": images,
        "ways": {
            name: {
                "images": way.images,
                "microseconds_per_image": 1e6 * timings[name].seconds,
                "spread": 1e6 * timings[name].spread,
                "times_reading": float(np.median(seconds[name] / seconds[READING])),
                "times_predictor": float(np.median(seconds[name] / seconds[PREDICTOR])),
                "bytes_per_image": way.bytes_per_image,
                "share_of_copying": rates[name] / rates[COPYING],
            }
            for name, way in ways.items()
        },
        "bytes_per_second": max(rates[READING], rates[COPYING]),
        "way_taken": predictor.way_for(images)._asdict(),
        "relative_error": {
            PREDICTOR: float((predictor(compared).cpu() - exact).abs().max() / largest),
            LINEAR: float((linear(compared).cpu() - exact).abs().max() / largest),
        },
        "batch_1": {way: {"microseconds": m["median"], "spread": m["iqr"]} for way, m in single.items()},
    }


def time_copies(
    name: str, variant: str, bind: Bind, batch: torch.Tensor, seconds: float, rounds: int
) -> dict[str, Any]:
    """Return the row of a variant of a network: the latency of copies of it at different places in memory.

    Parameters
    ----------
    name, variant : str
        Names of the network and of the variant.
    bind : callable
        Prepares a copy for the batch (see `contenders`).
    batch : tensor (N, *IN_SHAPE)
        Images to predict.
    seconds : float
        Seconds to spend on all copies together.
    rounds : int
        Number of copies.
    """
    copies = []  # all are kept, so that each lies at its own place in memory
    measured = []
    for _ in range(rounds):
        predict, images = bind(batch)
        copies.append(predict)
        measured.append(microseconds_per_image(predict, images, min_run_time=seconds / rounds, least_runs=1))
    return row_of(name, variant, len(batch), batch.device, measured)


def row_of(
    network: str, variant: str, batch_size: int, device: torch.device, copies: list[dict[str, float]]
) -> dict[str, Any]:
    """Return a row of the record: the median of the copies, and their noise (see `median_and_noise`).

    Examples
    --------
    >>> copies = [{"median": 10.0, "iqr": 1.0}, {"median": 26.0, "iqr": 2.0}, {"median": 11.0, "iqr": 1.0}]
    >>> row = row_of("ResNet34", "eager", 1, torch.device("cpu"), copies)
    >>> row["microseconds_per_image"], row["spread"]
    (11.0, 16.0)
    """
    micros, spread = median_and_noise([c["median"] for c in copies], [c["iqr"] for c in copies])
    return {
        "network": network,
        "variant": variant,
        "batch_size": batch_size,
        "device": str(device),
        "microseconds_per_image": micros,
        "spread": spread,
        "paper": paper_number(network, variant) if batch_size == PAPER_BATCH else None,
    }


def floor_of(size: int, device: torch.device, bytes_per_second: float) -> dict[str, Any]:
    """Return the row of the floor: the bytes of an image divided by the bandwidth measured in this run."""
    return {
        "network": "any, linear",
        "variant": "floor: " + READING,
        "batch_size": size,
        "device": str(device),
        "microseconds_per_image": 1e6 * PIXELS / bytes_per_second,
        "spread": 0.0,
        "paper": None,
    }


def paper_number(network: str, variant: str) -> float | None:
    """Return the paper's microseconds per image of a network in eager mode, or of the linear layer it collapses to.

    The result is None where the paper has no such number.

    Examples
    --------
    >>> paper_number("ResNet34, linear", "eager"), paper_number("ResNet34, linear", "collapsed, nn.Linear")
    (104.91, 2.06)
    """
    if variant == "collapsed, nn.Linear":
        return TIMINGS["perceptron", "network"]
    if variant != "eager":
        return None
    name, _, what = network.partition(", ")
    return TIMINGS.get((name, what)) if what != "linear" else TIMINGS.get((network, "network"))
