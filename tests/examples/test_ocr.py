# SPDX-License-Identifier: Apache-2.0
"""examples/ocr: the steps between the networks on made inputs, and the whole on the scanned page."""

import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "ocr"
sys.path.insert(0, str(EXAMPLE))

import detection  # noqa: E402
import drawing  # noqa: E402
import recognition  # noqa: E402


def probability_map(shape, polygons, value=0.9):
    canvas = np.zeros(shape, np.float32)
    for polygon in polygons:
        cv2.fillPoly(canvas, [np.array(polygon, np.int32)], value)
    return canvas[None, None]


def rectangle(x, y, w, h):
    return [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]


def test_prepare_scales_small_pictures_to_multiples_of_the_stride():
    image = np.full((191, 384, 3), 255, np.uint8)
    array = detection.prepare(image)
    assert array.shape == (1, 3, 736, 1472)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, 1)


def test_lines_come_in_reading_order_and_picture_coordinates():
    blobs = [rectangle(200, 102, 100, 10), rectangle(20, 100, 100, 10), rectangle(20, 20, 200, 10)]
    lines = detection.find_lines(probability_map((160, 320), blobs), (80, 160, 3))
    starts = [tuple(line.spine[[0, -1]].mean(axis=0)) for line in lines]
    np.testing.assert_allclose(starts, [(60, 12.5), (35, 52.5), (125, 53.5)], atol=1)


def test_weak_and_tiny_regions_are_not_lines():
    weak = probability_map((64, 256), [rectangle(20, 20, 100, 10)], value=0.4)
    tiny = probability_map((64, 256), [rectangle(20, 20, 2, 2)])
    assert detection.find_lines(weak, (64, 256, 3)) == []
    assert detection.find_lines(tiny, (64, 256, 3)) == []
    assert detection.find_lines(np.zeros((1, 1, 64, 256), np.float32), (64, 256, 3)) == []


def test_a_bent_line_is_followed():
    x = np.arange(20, 420)
    middle = 60 + 30 * ((x - 220) / 200) ** 2
    band = np.concatenate([np.stack([x, middle - 5], 1), np.stack([x, middle + 5], 1)[::-1]])
    (line,) = detection.find_lines(probability_map((160, 448), [band]), (160, 448, 3))
    inner = line.spine[2:-2]
    np.testing.assert_allclose(inner[:, 1], 60 + 30 * ((inner[:, 0] - 220) / 200) ** 2, atol=2)


def test_a_straightened_line_is_level():
    x = np.arange(20, 420)
    middle = 60 + 30 * ((x - 220) / 200) ** 2
    image = np.zeros((160, 448, 3), np.uint8)
    cv2.polylines(image, [np.stack([x, middle], 1).round().astype(np.int32)], False, (255, 255, 255), 3)
    spine = np.stack([np.interp(np.linspace(0, 399, 16), range(400), v) for v in (x, middle)], 1)
    strip = recognition.cut_out(image, detection.Line(spine, 24.0))
    assert strip.shape[0] == 48
    light = strip[:, 20:-20, 0].astype(float)
    middles = (np.arange(48)[:, None] * light).sum(axis=0) / light.sum(axis=0)
    np.testing.assert_allclose(middles, 23.5, atol=2)


def test_vertical_text_is_read_downwards():
    (line,) = detection.find_lines(
        probability_map((320, 160), [rectangle(70, 40, 12, 200)]), (320, 160, 3)
    )
    assert line.spine[0, 1] < line.spine[-1, 1]
    assert line.normals()[0, 0] == pytest.approx(-1, abs=0.05)


def test_upside_down_strips_are_turned_only_when_sure():
    strip = np.arange(48 * 8 * 3, dtype=np.uint8).reshape(48, 8, 3)
    turned, kept = recognition.turn_upright([strip, strip], np.array([[0.05, 0.95], [0.2, 0.8]]))
    np.testing.assert_array_equal(turned, strip[::-1, ::-1])
    np.testing.assert_array_equal(kept, strip)


def test_batches_hold_every_strip_once_padded_to_a_common_width():
    strips = [np.full((48, width, 3), 255, np.uint8) for width in (500, 40, 90, 33, 10, 64, 70)]
    seen = []
    for indices, batch in recognition.batches(strips):
        assert batch.shape[3] % recognition.WIDTH_STEP == 0
        for i, row in zip(indices, batch, strict=True):
            width = strips[i].shape[1]
            assert (row[:, :, :width] == 1).all() and (row[:, :, width:] == 0).all()
        seen += indices
    assert sorted(seen) == list(range(7))
    assert list(recognition.batches([])) == []


def test_decode_merges_repeats_and_keeps_doubled_letters_apart_by_a_blank():
    classes = [0, 1, 1, 0, 1, 2, 2, 0]
    probabilities = np.full((1, len(classes), 3), 0.1, np.float32)
    probabilities[0, range(len(classes)), classes] = 0.8
    (text,) = recognition.decode(probabilities, ["", "a", "b"])
    assert text.text == "aab"
    assert text.score == pytest.approx(0.8)


def test_decode_of_blanks_is_empty():
    probabilities = np.zeros((1, 4, 3), np.float32)
    probabilities[:, :, 0] = 1
    assert recognition.decode(probabilities, ["", "a", "b"]) == [recognition.Text("", 0.0)]


def test_draw_puts_outline_left_and_text_right():
    image = np.full((50, 1000, 3), 255, np.uint8)
    line = detection.Line(np.stack([np.linspace(100, 400, 16), np.full(16, 25.0)], 1), 20.0)
    drawn = drawing.draw(image, [line], [recognition.Text("Ｈello", 1.0)])
    assert drawn.shape == (50, 2000, 3)
    assert (drawn[:, :990] < 255).any() and (drawn[:, 1100:1400] < 255).any()
    assert (drawn[:, 1450:] == 255).all()


def test_the_scanned_page_is_read(tmp_path):
    pytest.importorskip("redline", reason="the redline module is not built")
    picture = tmp_path / "page.png"
    command = [sys.executable, EXAMPLE / "demo.py", "--device", "cpu", "--output", picture]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for expected in [
        "Region-based segmentation",
        "Let us first determine markers of the coins and the",
        "unambiguously as either object or background. Here,",
        "the markers are found at the two extreme parts of the",
        "histogram of grey values:",
    ]:
        assert expected in printed
    assert cv2.imread(str(picture)).shape[1] == 2000


@pytest.mark.parametrize("content", [None, b"not a picture"])
def test_an_unreadable_picture_is_one_line(tmp_path, content):
    pytest.importorskip("redline", reason="the redline module is not built")
    path = tmp_path / "x.png"
    if content:
        path.write_bytes(content)
    result = subprocess.run(
        [sys.executable, EXAMPLE / "demo.py", "--image", path], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr == f"demo: {path} is not a readable picture\n"
