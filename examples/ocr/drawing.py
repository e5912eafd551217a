# SPDX-License-Identifier: Apache-2.0
"""The result as a picture: the page with its lines outlined, and beside it the text in its place."""

import unicodedata

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALLEST_WIDTH = 1000
PALETTE = [(200, 60, 55), (38, 120, 178), (39, 144, 85), (142, 84, 173), (190, 110, 20)]


def draw(image, lines, texts):
    """BGR picture, its lines and their texts -> RGB picture of twice the width."""
    scale = max(1.0, SMALLEST_WIDTH / image.shape[1])
    height, width = round(image.shape[0] * scale), round(image.shape[1] * scale)
    page = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas = Image.new("RGB", (2 * width, height), "white")
    canvas.paste(Image.fromarray(np.ascontiguousarray(page[:, :, ::-1])))
    pen = ImageDraw.Draw(canvas)
    for i, (line, text) in enumerate(zip(lines, texts, strict=True)):
        colour = PALETTE[i % len(PALETTE)]
        corners = [tuple(corner) for corner in line.outline() * scale]
        pen.line([*corners, corners[0]], fill=colour, width=3)
        _write(canvas, text.text, line.spine * scale + [width, 0], line.height * scale, colour)
    pen.line([(width, 0), (width, height)], fill=(200, 200, 200), width=2)
    return np.asarray(canvas)


def _write(canvas, text, spine, height, colour):
    """Writes the text along the straight line between the spine's ends, stretched to its length."""
    text = unicodedata.normalize("NFKC", text)  # the built-in font has no full-width forms
    chord = spine[-1] - spine[0]
    length = float(np.linalg.norm(chord))
    font = ImageFont.load_default(0.75 * height)
    ascent, descent = font.getmetrics()
    tile = Image.new("L", (int(font.getlength(text)) + 1, ascent + descent))
    ImageDraw.Draw(tile).text((0, 0), text, fill=255, font=font)
    tile = tile.resize((max(1, round(length)), tile.height), Image.Resampling.BICUBIC)
    angle = -np.degrees(np.arctan2(chord[1], chord[0]))
    tile = tile.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC)
    corner = (spine[0] + spine[-1] - tile.size) / 2
    canvas.paste(colour, tuple(int(v) for v in corner), tile)
