"""Pictures as people have them: turned by EXIF, of other sizes, blank or inverted, in folders; and forms of output."""

import csv
import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from gpu.cli.main import main
from gpu.cli.picture_files import doubts_about, picture_paths, read_picture
from linalg_cnn import AffineMap

UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
"""Pixels of which no turn or reflection leaves all where they are."""

SEEN = {  # how the file's pixels must be turned to be seen upright, by the value of the EXIF entry
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", SEEN)
def test_pictures_are_read_as_their_exif_entry_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png", exif=exif)
    expected = SEEN[orientation](UPRIGHT)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", (1, *expected.shape))[0], expected)
    with pytest.raises(ValueError, match=f"got {expected.shape[1]}x{expected.shape[0]}; --resize scales it"):
        read_picture(tmp_path / "a.png", (1, 9, 9))


@pytest.fixture
def wide(tmp_path):
    """A picture of 4x8 pixels: dark, except for a light square in its middle."""
    pixels = np.zeros((4, 8), np.uint8)
    pixels[1:3, 3:5] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


def test_other_sizes_are_cropped_padded_or_stretched_on_request(wide):
    crop, pad, stretch = (read_picture(wide, (1, 4, 4), resize=how)[0] for how in ("crop", "pad", "stretch"))
    whole = np.asarray(Image.open(wide))
    np.testing.assert_array_equal(crop, whole[:, 2:6])
    assert pad[[0, 3]].max() == 0  # the paper above and below
    assert pad[1:3].max() > 0
    # half as large in both directions, or in one; weights of pixels at a border add up to a little more
    np.testing.assert_allclose(pad[1:3].sum(), whole.sum() / 4, rtol=0.2)
    np.testing.assert_allclose(stretch.sum(), whole.sum() / 2, rtol=0.05)
    assert np.array_equal(read_picture(wide, (1, 4, 8), resize="crop")[0], whole)
    for how in ("crop", "pad", "stretch"):
        assert read_picture(wide, (3, 5, 7), resize=how).shape == (3, 5, 7)


def test_padding_is_of_paper_also_where_the_paper_is_light(wide):
    inverted = 255 - np.asarray(Image.open(wide))
    Image.fromarray(inverted).save(wide)
    pixels = read_picture(wide, (1, 4, 4), resize="pad", invert=True)[0]
    assert pixels[[0, 3]].max() == 0


@pytest.mark.parametrize(
    ("pixels", "invert", "doubt"),
    [
        (np.full((1, 3, 3), 7), False, "all of its pixels are 7: it is blank"),
        (np.pad(np.zeros((1, 1, 1)), ((0, 0), (1, 1), (1, 1)), constant_values=255), False, "inverted; give --invert"),
        (np.pad(np.zeros((1, 1, 1)), ((0, 0), (1, 1), (1, 1)), constant_values=255), True, "leave out --invert"),
        (np.pad(np.full((1, 1, 1), 255), ((0, 0), (1, 1), (1, 1))), False, None),
        (np.pad(np.zeros((3, 1, 1)), ((0, 0), (1, 1), (1, 1)), constant_values=255), False, None),  # a photograph
    ],
)
def test_blank_pictures_and_ink_on_paper_are_doubted(pixels, invert, doubt):
    found = doubts_about(pixels.astype(np.uint8), invert)
    assert (found is None) if doubt is None else (doubt in found)


def test_folders_and_patterns_are_pictures_in_the_order_of_their_names(tmp_path):
    for name in ("b.png", "a.PNG", "c.jpg", "notes.txt", "[1].png"):
        (tmp_path / name).touch()
    names = [str(tmp_path / name) for name in ("[1].png", "a.PNG", "b.png", "c.jpg")]
    assert list(picture_paths([str(tmp_path)])) == names
    assert list(picture_paths([str(tmp_path / "?.*")])) == names[1:]
    assert list(picture_paths([names[0], "none.png"])) == [
        names[0],
        "none.png",
    ]  # a file, though it looks like a pattern
    (tmp_path / "empty").mkdir()
    for nothing in ("empty", "*.tif"):
        with pytest.raises(FileNotFoundError, match="expected a folder or a pattern of picture files, got no picture"):
            list(picture_paths([str(tmp_path / nothing)]))
    (tmp_path / "empty" / "cat").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no picture; for those of its subfolders, give '.*empty/\*/\*'"):
        list(picture_paths([str(tmp_path / "empty")]))


# The command


@pytest.fixture
def folder(tmp_path):
    """A map of two pixels to two classes, and a folder with a picture of each."""
    affine = AffineMap([[1.0, 0.0], [0.0, 0.5]], [0.0, 1.0], (1, 1, 2), meta={"class_names": ['le"ft', "ri,ght"]})
    affine.save(tmp_path / "map")
    (tmp_path / "pictures").mkdir()
    for name, row in (("1", [200, 0]), ("2", [0, 100])):
        Image.fromarray(np.array([row], np.uint8)).save(tmp_path / "pictures" / f"{name}.png")
    return tmp_path


def run(folder, capsys, *options, status=0):
    assert main(["predict", str(folder / "map"), str(folder / "pictures"), *options]) == status
    return capsys.readouterr()


def test_predictions_of_a_folder_as_text_csv_and_json(folder, capsys):
    paths = [str(folder / "pictures" / f"{n}.png") for n in (1, 2)]
    assert run(folder, capsys).out == f'{paths[0]}\tle"ft\n{paths[1]}\tri,ght\n'
    assert run(folder, capsys, "--scores").out.splitlines()[0] == 'picture\tclass\tle"ft\tri,ght'
    rows = list(csv.DictReader(io.StringIO(run(folder, capsys, "--format", "csv", "--scores").out)))
    assert rows == [
        {"picture": paths[0], "class": 'le"ft', 'le"ft': "200", "ri,ght": "1"},
        {"picture": paths[1], "class": "ri,ght", 'le"ft': "0", "ri,ght": "51"},
    ]
    assert run(folder, capsys, "--format", "csv").out.splitlines()[0] == "picture,class"
    assert json.loads(run(folder, capsys, "--format", "json", "--scores").out) == {
        "classes": ['le"ft', "ri,ght"],
        "pictures": [
            {"picture": paths[0], "class": 'le"ft', "scores": [200.0, 1.0]},
            {"picture": paths[1], "class": "ri,ght", "scores": [0.0, 51.0]},
        ],
    }
    assert "scores" not in json.loads(run(folder, capsys, "--format", "json").out)["pictures"][0]


def test_doubts_are_warnings_and_what_cannot_be_read_is_left_out_of_json(folder, capsys):
    Image.new("L", (2, 1)).save(folder / "pictures" / "3.png")
    Image.new("L", (3, 1), 9).save(folder / "pictures" / "4.png")
    captured = run(folder, capsys, "--format", "json", status=1)
    assert len(json.loads(captured.out)["pictures"]) == 3
    warning, error = captured.err.splitlines()
    assert warning.endswith("3.png: all of its pixels are 0: it is blank")
    assert warning.startswith("linalg-cnn: warning: ")
    assert "4.png: expected a picture of 2x1 pixels, got 3x1; --resize scales it" in error
    assert len(run(folder, capsys, "--resize", "stretch").out.splitlines()) == 4


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_a_pattern_that_matches_nothing_is_named_and_the_other_pictures_are_printed(folder, capsys, form):
    pictures = [str(folder / "pictures" / name) for name in ("1.png", "zz*.png", "2.png")]
    assert main(["predict", str(folder / "map"), *pictures, "--format", form]) == 1
    captured = capsys.readouterr()
    assert captured.err == (
        f"linalg-cnn: error: {pictures[1]}: expected a folder or a pattern of picture files, got no picture\n"
    )
    if form == "json":
        assert [picture["picture"] for picture in json.loads(captured.out)["pictures"]] == pictures[::2]
    else:
        assert captured.out.count(".png") == 2
        assert pictures[2] in captured.out


def png_of_16_bits(colours, kind):
    """A PNG file of (height, width, channels), which Pillow reads but does not write."""
    height, width, _ = colours.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)

    def part(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


@pytest.mark.parametrize("kind", ["grey", "colour", "grey, alpha", "colour, alpha", "ppm"])
def test_pictures_of_16_bits_are_refused_whatever_pillow_makes_of_them(tmp_path, kind):
    channels = {"grey": 1, "colour": 3, "grey, alpha": 2, "colour, alpha": 4, "ppm": 3}[kind]
    colours = np.full((4, 4, channels), 4000)
    path = tmp_path / "picture"
    if kind == "ppm":
        path.write_bytes(b"P6 4 4 65535\n" + colours.astype(">u2").tobytes())
    else:
        path.write_bytes(png_of_16_bits(colours, {1: 0, 3: 2, 2: 4, 4: 6}[channels]))
    with pytest.raises(ValueError, match="expected an 8-bit picture, got one of 16 bits"):
        read_picture(path, (1, 4, 4))
    for kind_of_file, mode in (("PPM", "RGB"), ("PNG", "RGBA"), ("BMP", "RGB"), ("TIFF", "LA"), ("GIF", "L")):
        Image.new(mode, (400, 4), 7 if mode == "L" else (7,) * len(mode)).save(path, format=kind_of_file)
        assert read_picture(path, (1, 4, 400)).shape == (1, 4, 400)
