# SPDX-License-Identifier: Apache-2.0
"""Real models: one engine each, several real inputs, the same numbers and decisions as ONNX Runtime."""

import functools
import pathlib
import sys

import numpy as np
import onnxruntime
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench"))

import models  # noqa: E402
from models import magika, minilm  # noqa: E402

TOLERANCE = 1e-4  # of the largest absolute value of ONNX Runtime's output
MEMORY_RATIO = 1.05  # of the bytes alive at the busiest step
CASES = [(name, case) for name in models.names() for case in models.get(name).cases]


@functools.lru_cache(maxsize=1)
def sessions(name):
    redline = pytest.importorskip("redline", reason="the redline module is not built")
    content = models.get(name).load()
    return redline.load(content, device="cpu"), reference(content)


def reference(content):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_reference(session, feed):
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{n}-{c}" for n, c in CASES])
def test_agrees_with_onnxruntime(name, case):
    session, peer = sessions(name)
    model = models.get(name)
    feed = model.cases[case]()
    actual, expected = session.run(feed), run_reference(peer, feed)
    assert list(actual) == list(expected)
    for output, want in expected.items():
        got = actual[output]
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()
    assert model.decide(actual) == model.decide(expected)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 2e-2), ("bf16", 1e-1)])
@pytest.mark.parametrize(
    ("name", "case"), [("minilm", "b3"), ("magika", "b1"), ("ppocr_cls", "b6"), ("ppocr_rec", "b1")]
)
def test_halves_decide_alike(name, case, precision, tolerance):
    redline = pytest.importorskip("redline", reason="the redline module is not built")
    model = models.get(name)
    engine = redline.build(model.load(), opt_level=1, tuning_database=False, precision=precision)
    assert redline.build_report(engine)["precision"]["lowered"] > 20
    feed = model.cases[case]()
    actual, expected = engine.create_session().run(feed), sessions(name)[0].run(feed)
    assert model.decide(actual) == model.decide(expected)
    for output, want in expected.items():
        assert actual[output].dtype == want.dtype
        assert np.abs(actual[output] - want).max() <= tolerance * np.abs(want).max()


@pytest.mark.parametrize("name", models.names())
def test_activation_memory_is_near_the_least(name):
    session, _ = sessions(name)
    for case, feed in models.get(name).cases.items():
        session.run(feed())
        planned, least = session.activation_bytes, session.activation_lower_bound
        print(f"{name} {case}: {planned} bytes planned, {least} needed, ratio {planned / least:.4f}")
        assert least <= planned <= MEMORY_RATIO * least


@pytest.mark.parametrize("name", models.names())
def test_inputs_are_the_same_on_each_call(name):
    for make in models.get(name).cases.values():
        first, second = make(), make()
        assert list(first) == list(second)
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])


def test_similar_sentences_are_nearer():
    """The written MiniLM graph means what the weights were trained for."""
    session = reference(models.get("minilm").load())
    feed = minilm.tokenize(minilm.SENTENCES)
    (hidden,) = session.run(None, feed)
    music, performance, bank = minilm.embed(hidden, feed["attention_mask"])
    assert music @ performance > 0.5
    assert max(music @ bank, performance @ bank) < 0.1


def test_magika_knows_its_files():
    session = reference(models.get("magika").load())
    (scores,) = session.run(None, models.get("magika").cases["b4"]())
    assert [magika.labels()[best] for best in scores.argmax(axis=1)] == list(magika.FILES)
