# SPDX-License-Identifier: Apache-2.0
"""From lines to text: cut them out, turn the upside-down ones, batch by width, decode."""

import dataclasses

import cv2
import numpy as np

STRIP_HEIGHT = 48
DIRECTION_WIDTH = 192
TURN_THRESHOLD = 0.9
BATCH = 6
WIDTH_STEP = 32  # widths are rounded up to this, so that few distinct shapes occur
BLANK = 0


@dataclasses.dataclass(frozen=True)
class Text:
    text: str
    score: float


def cut_out(image, line):
    """The line as a straight strip of the networks' height, (48, W, 3)."""
    steps = np.linalg.norm(np.diff(line.spine, axis=0), axis=1)
    distance = np.concatenate([[0], np.cumsum(steps)])
    height = max(STRIP_HEIGHT, round(line.height))
    width = max(1, round(distance[-1] * height / line.height))

    def along(values):
        return np.stack([np.interp(at, distance, column) for column in values.T], axis=1)

    at = (np.arange(width) + 0.5) / width * distance[-1]
    across = ((np.arange(height) + 0.5) / height - 0.5) * line.height
    grid = along(line.spine)[None] + across[:, None, None] * along(line.normals())[None]
    strip = cv2.remap(
        image, grid.astype(np.float32), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return _resize(strip, max(1, round(width * STRIP_HEIGHT / height)))


def prepare_direction(strips):
    """Strips -> direction network input (N, 3, 48, 192)."""
    return _stack([_resize(s, min(s.shape[1], DIRECTION_WIDTH)) for s in strips], DIRECTION_WIDTH)


def turn_upright(strips, probabilities):
    """Turns the strips that the direction network calls upside down; `probabilities` is (N, 2)."""
    return [
        np.rot90(strip, 2) if upside_down > TURN_THRESHOLD else strip
        for strip, upside_down in zip(strips, probabilities[:, 1], strict=True)
    ]


def batches(strips):
    """Yields (indices, network input (N, 3, 48, W)) with strips of similar width together."""
    order = sorted(range(len(strips)), key=lambda i: strips[i].shape[1])
    for start in range(0, len(order), BATCH):
        indices = order[start : start + BATCH]
        widest = strips[indices[-1]].shape[1]
        width = -(-widest // WIDTH_STEP) * WIDTH_STEP
        yield indices, _stack([strips[i] for i in indices], width)


def characters(model):
    """The recogniser's classes: the CTC blank, the listed characters, the space."""
    listed = {entry.key: entry.value for entry in model.metadata_props}["character"]
    return ["", *listed.splitlines(), " "]


def decode(probabilities, alphabet):
    """(N, steps, classes) -> texts: the best class of each step, repeats merged, blanks dropped."""
    best = probabilities.argmax(axis=2)
    scores = probabilities.max(axis=2)
    keep = best != BLANK
    keep[:, 1:] &= best[:, 1:] != best[:, :-1]
    return [
        Text("".join(alphabet[c] for c in row[k]), float(score[k].mean()) if k.any() else 0.0)
        for row, score, k in zip(best, scores, keep, strict=True)
    ]


def _resize(strip, width):
    if strip.shape[:2] == (STRIP_HEIGHT, width):
        return strip
    return cv2.resize(strip, (width, STRIP_HEIGHT), interpolation=cv2.INTER_AREA)


def _stack(strips, width):
    batch = np.zeros((len(strips), 3, STRIP_HEIGHT, width), np.float32)
    for row, strip in zip(batch, strips, strict=True):
        row[:, :, : strip.shape[1]] = (strip.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)
    return batch
