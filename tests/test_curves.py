"""Pictures of curves and of records, whose text alternatives contain the numbers."""

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from gpu.bench.pictures import predict_picture
from gpu.experiments.pictures import record_picture
from gpu.settings import EXPERIMENTS
from linalg_cnn.display import curves_picture

RECORDS = Path(__file__).parents[1] / "docs" / "records"


def test_a_long_curve_is_told_by_its_ends_and_extremes():
    picture = curves_picture({"wave": [3, 1, 5, *range(2, 90)]}, x="n", y="a", log=True, title="A wave")
    assert picture.alt == "A wave: curves of a against n. wave: 3 at 1, 1 at 2, 89 at 91."
    short = curves_picture({"short": tuple(range(5))}, x="n", y="a", start=0)
    assert short.alt == "Curves of a against n. short: 0 at 0, 1 at 1, 2 at 2, 3 at 3, 4 at 4."


def test_a_spectrum_of_ten_values_is_seen_beside_one_of_hundreds():
    axes = []
    figure_of = Figure.subplots

    def kept(figure, *arguments, **options):
        axes.append(figure_of(figure, *arguments, **options))
        return axes[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "subplots", kept)
        curves_picture({"short": range(1, 11), "long": range(1, 700)}, x="n", y="a", log=True, log_x=True)
    assert (axes[0].get_xscale(), axes[0].get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes[0].texts] == ["short", "long"]


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "curves: expected one to 6 curves, got 0"),
        ({str(n): [1] for n in range(7)}, "curves: expected one to 6 curves, got 7"),
        ({"a": []}, r"curves\['a'\]: expected as many values as positions"),
        ({"a": ([1.0, 2.0], [1.0])}, r"curves\['a'\]: expected as many values as positions"),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(curves, message):
    with pytest.raises(ValueError, match=message):
        curves_picture(curves, x="n", y="a")


def test_counting_starts_at_an_int_of_at_least_0():
    with pytest.raises(ValueError, match="start: expected an int"):
        curves_picture({"a": [1]}, x="n", y="a", start=0.5)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if (RECORDS / f"{name}.json").exists()])
def test_every_record_of_an_experiment_is_a_picture_that_names_its_curves_and_its_machine(name):
    record = json.loads((RECORDS / f"{name}.json").read_text())
    picture = record_picture(record)
    named = [series.get("arm", series["name"]) for series in record.get("series", [])]
    if name != "front":  # whose rows are the times of what the series are
        named += [row.get("variant") or row["stage"] for row in record.get("rows", [])]
    assert named
    assert all(words in picture.alt for words in named)
    assert record["hardware"]["processor"] in picture.alt
    assert ("the paper's" in picture.alt) == (name in {"figure1", "figure2", "figure3", "timing"})


def test_the_words_of_figure_3_are_the_numbers_of_the_record():
    record = json.loads((RECORDS / "figure3.json").read_text())
    last = [trial["epochs"][-1]["validation_accuracy"] for trial in record["series"][0]["trials"]]
    assert f"{100 * sum(last) / len(last):.1f} % at 10" in record_picture(record).alt


@pytest.mark.parametrize("draw", [record_picture, predict_picture])
def test_pictures_refuse_what_is_no_record_of_theirs(draw):
    with pytest.raises(
        TypeError, match="record: expected a dict that linalg-cnn (experiment|bench predict) wrote, got s"
    ):
        draw("nope")
    for record in (
        {},
        {"experiment": "bench regions", "rows": [{}]},
        {"experiment": "figure3"},
        {"experiment": "figure3", "series": 3, "settings": None, "rows": []},
    ):
        with pytest.raises(ValueError, match=r"^record(\['experiment'\])?: expected one "):
            draw(record)
