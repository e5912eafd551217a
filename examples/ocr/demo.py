#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the text on a picture of a page with three networks built by Redline.

The networks are PP-OCR's text detection, direction and recognition. Each output is compared with
ONNX Runtime's on the same input.
"""

import argparse
import importlib.util
import pathlib
import sys
import tempfile
import time

PACKAGES = {  # module: what to ask pip for
    "redline": "redline (python -m pip install . in the repository's root)",
    "cv2": "opencv-python-headless",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "PIL": "pillow",
    "rapidocr_onnxruntime": "rapidocr-onnxruntime",
    "skimage": "scikit-image",
}
MODELS = {
    "detection": "ch_PP-OCRv4_det_infer.onnx",
    "direction": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "recognition": "ch_PP-OCRv4_rec_infer.onnx",
}
TEXT_THRESHOLD = 0.5
OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "build" / "demo" / "ocr.png"


def require_packages():
    missing = [hint for module, hint in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        sys.exit("demo: missing Python packages: " + ", ".join(missing))


def packaged_file(module, *parts):
    """A data file of an installed package, found without importing the package."""
    spec = importlib.util.find_spec(module)
    path = pathlib.Path(spec.submodule_search_locations[0], *parts)
    if not path.is_file():
        sys.exit(f"demo: the installed package {module} has no file {'/'.join(parts)}")
    return path


def progress_bar(label):
    """A callback for redline.build; draws on a terminal, silent otherwise."""
    started = time.perf_counter()

    def show(phase, fraction):
        if sys.stderr.isatty():
            filled = round(30 * fraction)
            bar = "#" * filled + "." * (30 - filled)
            seconds = time.perf_counter() - started
            sys.stderr.write(f"\r\033[Kbuilding {label:<11} {seconds:5.1f} s [{bar}] {phase}")
            sys.stderr.flush()
        return True

    return show


class Stage:
    """One network as a Redline session, with ONNX Runtime beside it to compare and time."""

    def __init__(self, name, model_path, folder, device):
        import onnxruntime
        import redline

        engine = folder / f"{name}.engine"
        started = time.perf_counter()
        redline.build(model_path, engine, device=device, progress=progress_bar(name))
        self.build_seconds = time.perf_counter() - started
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
        self.session = redline.load(engine, device=device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.peer = onnxruntime.InferenceSession(
            model_path, options, providers=["CPUExecutionProvider"]
        )
        self.name = name
        self.calls, self.seconds, self.peer_seconds = 0, 0.0, 0.0
        self.absolute, self.relative = 0.0, 0.0

    def __call__(self, array):
        import numpy as np

        feed = {self.peer.get_inputs()[0].name: array}
        start = time.perf_counter()
        (output,) = self.session.run(feed).values()
        middle = time.perf_counter()
        (expected,) = self.peer.run(None, feed)
        self.calls += 1
        self.seconds += middle - start
        self.peer_seconds += time.perf_counter() - middle
        if output.shape != expected.shape:
            sys.exit(f"demo: {self.name} gave shape {output.shape}, ONNX Runtime {expected.shape}")
        difference = float(np.abs(output - expected).max())
        self.absolute = max(self.absolute, difference)
        self.relative = max(self.relative, difference / float(np.abs(expected).max()))
        return output


def read_page(image, stages, alphabet):
    """BGR picture -> (lines, texts) in reading order; lines that read as nothing are dropped."""
    import detection
    import recognition

    lines = detection.find_lines(stages["detection"](detection.prepare(image)), image.shape)
    strips = [recognition.cut_out(image, line) for line in lines]
    for start in range(0, len(strips), recognition.BATCH):
        chunk = slice(start, start + recognition.BATCH)
        directions = stages["direction"](recognition.prepare_direction(strips[chunk]))
        strips[chunk] = recognition.turn_upright(strips[chunk], directions)
    texts = [None] * len(strips)
    for indices, batch in recognition.batches(strips):
        decoded = recognition.decode(stages["recognition"](batch), alphabet)
        for i, text in zip(indices, decoded, strict=True):
            texts[i] = text
    keep = [i for i, text in enumerate(texts) if text.score >= TEXT_THRESHOLD and text.text.strip()]
    return [lines[i] for i in keep], [texts[i] for i in keep]


def print_table(stages):
    print(f"\n{'stage':<12} {'calls':>5} {'build':>9} {'Redline':>10} {'ORT':>10}   largest difference from ORT")
    for name, stage in stages.items():
        print(
            f"{name:<12} {stage.calls:5d} {stage.build_seconds:7.2f} s {1e3 * stage.seconds:7.1f} ms"
            f" {1e3 * stage.peer_seconds:7.1f} ms   {stage.absolute:.1e} absolute,"
            f" {stage.relative:.1e} relative"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--image", type=pathlib.Path, help="picture to read (default: a scanned page)")
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT, help="default: %(default)s")
    parser.add_argument("--device", choices=["cpu", "cuda", "auto"], default="auto")
    arguments = parser.parse_args()
    require_packages()

    import drawing
    import numpy as np
    import onnx
    import recognition
    from PIL import Image

    path = arguments.image or packaged_file("skimage", "data", "page.png")
    try:
        image = np.asarray(Image.open(path).convert("RGB"))[:, :, ::-1]
    except OSError:
        sys.exit(f"demo: {path} is not a readable picture")

    models = {k: packaged_file("rapidocr_onnxruntime", "models", v) for k, v in MODELS.items()}
    alphabet = recognition.characters(onnx.load(models["recognition"]))
    with tempfile.TemporaryDirectory() as folder:
        stages = {
            name: Stage(name, model, pathlib.Path(folder), arguments.device)
            for name, model in models.items()
        }
        lines, texts = read_page(image, stages, alphabet)

    print(f"{path.name}: {len(texts)} lines of text\n")
    for text in texts:
        print(f"  {text.score:.2f}  {text.text}")
    print_table(stages)
    try:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawing.draw(image, lines, texts)).save(arguments.output)
    except (OSError, ValueError) as error:
        sys.exit(f"demo: cannot write {arguments.output}: {error}")
    print(f"\nThe page with its boxes and text: {arguments.output}")


if __name__ == "__main__":
    main()
