"""Numbers that the pages cite are in the records that they name."""

import json
import re

import pytest
import torch
from torch import nn

import gpu
from gpu.experiments.accuracy import spread


def test_the_trials_on_a_gpu_that_the_pages_cite_are_in_their_record(pytestconfig):
    docs = pytestconfig.rootpath / "docs"
    rows = json.loads((docs / "records" / "probe_h200.json").read_text())["rows"]
    experiments, errata = (" ".join((docs / page).read_text().split()) for page in ("experiments.md", "errata.md"))

    def found(which, **options):
        return [row[which] for row in rows if options.items() <= row.items()]

    torchvisions, stride_1, *_ = dict.fromkeys(row["stem"] for row in rows if row["network"] == "ResNet34")
    ended = {"stem": torchvisions, "t": "from 0.9", "learning_rate": 3e-4}
    for which in ("as_trained", "recalibrated"):
        assert ", ".join(f"{value:.2%}".replace("%", " %") for value in found(which, **ended)) in experiments
    assert len(found("recalibrated", **ended)) == 2
    for stem in (torchvisions, stride_1):
        for t in "01":
            trials = {"stem": stem, "t": t, "learning_rate": 1e-3, "network": "ResNet34"}
            cells = [
                ", ".join(f"{value:.1%}".replace("%", " %") for value in found(which, **trials))
                for which in ("as_trained", "recalibrated")
            ]
            assert "; ".join(cells) in experiments
    curve = {"trained_epochs": 2, "learning_rate": 1e-3, "network": "ResNet34"}
    for t in ("0", "0.1", "0.3", "0.5", "0.9", "1"):
        columns = ((torchvisions, "recalibrated"), (torchvisions, "as_trained"), (stride_1, "recalibrated"))
        cells = [
            ", ".join(f"{value:.1%}".replace("%", " %") for value in found(which, stem=stem, t=t, **curve))
            for stem, which in (*columns, ("7x7 stride 2, no pooling", "recalibrated"))
        ]
        assert re.search(rf"\| {t} \| [0-9.]+ % \| {re.escape(' | '.join(cells))} \|", experiments)
    two_epochs = {"trained_epochs": 2, "network": "ResNet34"}
    by_stem = {}
    for stem in dict.fromkeys(row["stem"] for row in rows):
        values = found("recalibrated", t="1", stem=stem, **two_epochs)
        by_stem[stem] = tuple(dict.fromkeys(f"{100 * value:.0f}" for value in sorted(values)))
    for values in by_stem.values():
        assert f"{' to '.join((values[0], values[-1])[: len(values)])} % with" in errata
    at_0 = {stem: found("recalibrated", t="0", stem=stem, **curve) for stem in by_stem}
    ours = at_0.pop(torchvisions)
    assert f"ended at {100 * ours[0]:.1f} and {100 * ours[1]:.1f} % with torchvision's stem" in errata
    others = [value for values in at_0.values() for value in values]
    assert f"between {100 * min(others):.0f} and {100 * max(others):.0f} % with the others" in errata
    (epochs,) = found("epochs", stem=stride_1, t="from 0.9")
    assert min(epoch["as_trained"] for epoch in epochs) >= 0.98


@pytest.mark.parametrize(("figure", "epochs"), [("figure1", 5), ("figure3", 10)])
def test_the_table_that_compares_the_stems_is_in_its_records(figure, epochs, pytestconfig):
    docs = pytestconfig.rootpath / "docs"
    records = [json.loads((docs / "records" / f"{figure}_stem_stride_{stride}.json").read_text()) for stride in (2, 1)]
    for record, stride in zip(records, (2, 1), strict=True):
        kept = {key: record["settings"][key] for key in ("stem_stride", "images", "epochs", "trials")}
        assert kept == {"stem_stride": stride, "images": 2000, "epochs": epochs, "trials": 3}
    names = [series["name"] for series in records[0]["series"]]
    assert len(names) == 2
    for name in names:
        cells = [
            spread([trial["epochs"][-1][kind] for trial in series["trials"]])
            for record in records
            for series in record["series"]
            if series["name"] == name
            for kind in ("validation_accuracy", "validation_accuracy_running")
        ]
        assert f"| {name} | {epochs} | {' | '.join(cells)} |" in (docs / "two_cores.md").read_text()


@pytest.mark.parametrize(("stride", "size"), [(2, "1x1"), (1, "2x2")])
def test_the_macs_of_the_stems_are_those_of_the_products_that_read_a_pixel(stride, size, pytestconfig):
    found = []

    def count(layer, inputs, output):
        pixels, taps = torch.ones(1, 1, *inputs[0].shape[2:]), torch.ones(1, 1, *layer.kernel_size)
        read = nn.functional.conv2d(pixels, taps, stride=layer.stride, padding=layer.padding)
        found.append(int(read.sum()) * layer.in_channels * layer.out_channels)

    model = gpu.resnet(34, stem_stride=stride).eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    model(torch.zeros(1, 1, 28, 28))
    found.append(model.fc.weight.numel())
    text = (pytestconfig.rootpath / "docs" / "experiments.md").read_text()
    assert f"(`stem_stride={stride}`) | {size} | {sum(found) / 1e6:.0f} million |" in text
