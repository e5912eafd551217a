# SPDX-License-Identifier: Apache-2.0
"""Text detection: picture -> probability map -> text lines (differentiable binarisation)."""

import dataclasses

import cv2
import numpy as np

SHORT_SIDE = 736  # the network was trained on pictures of about this size
STRIDE = 32
PIXEL_THRESHOLD = 0.3
LINE_THRESHOLD = 0.5
GROWTH = 3.0  # the network marks the core of a line; its outline moves out by this * area / perimeter
SMALLEST_SIDE = 3
SPINE_POINTS = 16


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of text: its middle from first to last letter, (SPINE_POINTS, 2), and its height."""

    spine: np.ndarray
    height: float

    def normals(self):
        """Unit vectors at the spine's points, towards the feet of the letters."""
        along = np.gradient(self.spine, axis=0)
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
        return np.stack([-along[:, 1], along[:, 0]], axis=1)

    def outline(self):
        """The polygon around the line, clockwise from the top of its first letter."""
        half = self.normals() * self.height / 2
        return np.concatenate([self.spine - half, (self.spine + half)[::-1]])


def prepare(image):
    """BGR picture (H, W, 3) -> network input (1, 3, H', W'), both sides multiples of the stride."""
    height, width = image.shape[:2]
    scale = max(1.0, SHORT_SIDE / min(height, width))
    size = [max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (width, height)]
    resized = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray((resized.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None])


def find_lines(probability, image_shape):
    """Probability map (1, 1, H', W') -> lines in the picture's coordinates, in reading order."""
    probability = probability[0, 0]
    mask = (probability > PIXEL_THRESHOLD).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    height, width = image_shape[:2]
    scale = np.array([width / probability.shape[1], height / probability.shape[0]])
    lines = []
    for contour in contours:
        rectangle = cv2.minAreaRect(contour)
        if min(rectangle[1]) < SMALLEST_SIDE or _mean_inside(probability, contour) < LINE_THRESHOLD:
            continue
        line = _trace(contour, rectangle)
        lines.append(Line(line.spine * scale, line.height * scale.mean()))
    return _reading_order(lines)


def _mean_inside(probability, contour):
    x, y, w, h = cv2.boundingRect(contour)
    mask = np.zeros((h, w), np.uint8)
    cv2.fillPoly(mask, [contour - [x, y]], 1)
    return float(probability[y : y + h, x : x + w][mask == 1].mean())


def _trace(contour, rectangle):
    """Follows the middle of a contour, so that lines on a bent page come out straight."""
    axis = _reading_direction(cv2.boxPoints(rectangle))
    turn = np.array([axis, [-axis[1], axis[0]]])  # picture -> (along, across)
    points = contour[:, 0] @ turn.T
    low = points.min(axis=0)
    length, width = np.ceil(points.max(axis=0) - low).astype(int) + 1
    mask = np.zeros((width, length), np.uint8)
    cv2.fillPoly(mask, [np.round(points - low).astype(np.int32)], 1)

    thickness = mask.sum(axis=0)
    middle = (mask * np.arange(width)[:, None]).sum(axis=0) / np.maximum(thickness, 1)
    curve = np.polynomial.Polynomial.fit(
        np.arange(length), middle, deg=3 if length > 8 * thickness.mean() else 1, w=thickness
    )
    offset = GROWTH * cv2.contourArea(contour) / cv2.arcLength(contour, True)
    along = np.linspace(-offset, length - 1 + offset, SPINE_POINTS)
    across = curve(np.clip(along, 0, length - 1))
    spine = (np.stack([along, across], axis=1) + low) @ turn
    return Line(spine, float(np.median(thickness)) + 2 * offset)


def _reading_direction(corners):
    """To the right, or downwards where the rectangle is clearly taller than wide."""
    sides = np.array([corners[1] - corners[0], corners[2] - corners[1]])
    lengths = np.linalg.norm(sides, axis=1)
    across = int(np.argmax(np.abs(sides[:, 0]) / lengths))
    if lengths[1 - across] >= 1.5 * lengths[across]:
        side = sides[1 - across]
        return side * np.sign(side[1]) / lengths[1 - across]
    return sides[across] * np.sign(sides[across][0]) / lengths[across]


def _reading_order(lines):
    """Rows from the top, each from left to right."""
    rows = []
    for line in sorted(lines, key=lambda line: line.spine[:, 1].mean()):
        last = rows[-1][-1] if rows else None
        apart = line.spine[:, 1].mean() - last.spine[:, 1].mean() if last else np.inf
        if last and apart < min(line.height, last.height) / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.spine[0, 0])]
