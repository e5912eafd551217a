#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds that are killed, run at once, or find damaged caches; and a GPU whose memory is full.

Each ends in a clear error or in a repair that is said; never in a wrong answer or a half-written engine. What needs a
driver that fails on purpose (allocations, launches, compilations) is tested without a GPU, by gpu_engine_test.
"""

import ctypes
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import part
import sized

SIZES = {"batch": 3, "seq": 9}
TOLERANCE = 2e-2


class Bench:
    """One model, a cache folder, and what a right answer is."""

    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        network = sized.tiny(folder)
        self.model, feed = network.path, network.feed(SIZES)
        self.want = network.expected(feed)
        np.save(folder / "x.npy", feed["x"])
        self.new_cache()

    def new_cache(self):
        self.cache = self.folder / f"cache{random.random()}"
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(self.cache))

    def command(self, engine):
        return [self.arguments.redline, "build", self.model, "-o", engine, "--device", self.arguments.device, "--fp16", "--verbose"]

    def build(self, engine):
        return subprocess.run(self.command(engine), capture_output=True, text=True, env=self.environment)

    def start(self, engine):
        return subprocess.Popen(self.command(engine), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment)

    def wrong(self, engine):
        """Why the engine's answer is wrong, or None."""
        out = self.folder / "out"
        done = subprocess.run([self.arguments.redline, "run", engine, "--input", f"x={self.folder / 'x.npy'}", "--output-dir", out],
                              capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip()[-300:]
        error = part.relative(np.load(out / "y.npy"), self.want)
        return f"differs by {error:.1e}" if error > TOLERANCE else None

    def must_build(self, engine, what):
        """The failures of a build that must go well, and what it said."""
        done = self.build(engine)
        if done.returncode:
            return [f"{what}: {done.stderr.strip()[-300:]}"], done.stderr
        wrong = self.wrong(engine)
        return [f"{what}: {wrong}"] if wrong else [], done.stderr

    def files(self, pattern):
        return sorted(self.cache.rglob(pattern))


def killed_builds(bench, outcome, times):
    """kill -9 at random moments; the engine's name then has a whole engine or none, and the next build is right."""
    started = time.perf_counter()
    failures, _ = bench.must_build(bench.folder / "whole.engine", "undisturbed build")
    seconds = time.perf_counter() - started
    ended = 0
    for i in range(times):
        if i % 2 == 0:
            bench.new_cache()
        engine = bench.folder / f"killed{i}.engine"
        build = bench.start(engine)
        time.sleep(random.uniform(0.02, 0.9) * seconds)
        build.send_signal(signal.SIGKILL)
        build.communicate()
        ended += build.returncode == 0
        if engine.exists() and (wrong := bench.wrong(engine)):
            failures.append(f"killed build {i} left {wrong}")
        failures += bench.must_build(engine, f"build after killed build {i}")[0]
    outcome.add(["builds killed at random moments, built again", times, f"{ended} had ended", len(failures)], failures)


def builds_at_once(bench, outcome, times):
    bench.new_cache()
    engines = [bench.folder / f"at_once{i}.engine" for i in range(times)]
    builds = [bench.start(engine) for engine in engines]
    failures = []
    for engine, build in zip(engines, builds, strict=True):
        _, errors = build.communicate()
        wrong = errors.strip()[-300:] if build.returncode else bench.wrong(engine)
        failures += [f"builds at once: {wrong}"] if wrong else []
    again, said = bench.must_build(bench.folder / "after.engine", "build after builds at once")
    failures += again
    if "skipped" in said or "damaged" in said:
        failures.append("builds at once left a damaged line or kernel: " + said.strip()[-300:])
    outcome.add(["builds at once, one cache and database", times, "", len(failures)], failures)


DAMAGE = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a flipped bit": lambda content: content[:-9] + bytes([content[-9] ^ 4]) + content[-8:] if len(content) > 9 else b"x",
    "other bytes": lambda content: bytes(random.randbytes(len(content))),
}


def damaged_kernels(bench, outcome):
    """Every cached kernel damaged in one way: compiled again, and said so."""
    for what, damage in DAMAGE.items():
        kernels = bench.files("*.cubin")
        for file in kernels:
            file.write_bytes(damage(file.read_bytes()))
        failures, said = bench.must_build(bench.folder / "repaired.engine", f"cached kernels {what}")
        if kernels and "is damaged; compiling it again" not in said:
            failures.append(f"cached kernels {what}: nothing was said")
        outcome.add([f"cached kernels: {what}", len(kernels), f"{said.count('is damaged')} said", len(failures)], failures)


def damaged_database(bench, outcome):
    """Lines that are no records are skipped, and said so; the others count."""
    (file,) = bench.files("tuning.jsonl")
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    bad = [b"garbage\n", b'{"problem": 3}\n', b"\xff\x00\n", lines[0][: len(lines[0]) // 2] + b"\n",
           lines[0].replace(b'"us":', b'"us":-'), b"[" * 5000 + b"\n"]
    cases = {"lines between": b"".join(a + b for a, b in zip(lines, bad * len(lines), strict=False)),
             "all": b"".join(bad), "the end cut": whole[:-7], "other bytes": random.randbytes(len(whole))}
    for what, content in cases.items():
        file.write_bytes(content)
        failures, said = bench.must_build(bench.folder / "repaired.engine", f"database, {what}")
        if "skipped" not in said:
            failures.append(f"database, {what}: nothing was said")
        outcome.add([f"tuning database damaged: {what}", 1, "", len(failures)], failures)
    file.write_bytes(whole)


def damaged_engine(bench, outcome):
    """An engine with any bit changed is refused by a message, or right."""
    engine = bench.folder / "whole.engine"
    whole = engine.read_bytes()
    damaged, failures, refused = bench.folder / "damaged.engine", [], 0
    for i in range(12):
        at = random.randrange(len(whole))
        damaged.write_bytes(whole[: at if i % 3 == 0 else len(whole)] if i % 3 == 0
                            else whole[:at] + bytes([whole[at] ^ 1 << i % 8]) + whole[at + 1:])
        done = subprocess.run([bench.arguments.redline, "run", damaged, "--size", "batch=2"], capture_output=True, text=True)
        refused += done.returncode == 1
        if done.returncode not in (0, 1) or (done.returncode == 1 and not done.stderr.strip()):
            failures.append(f"a damaged engine ended with {done.returncode}: {done.stderr.strip()[-200:]}")
        elif done.returncode == 0 and (wrong := bench.wrong(damaged)):
            failures.append(f"a damaged engine: {wrong}")
    outcome.add(["engines with a bit changed or cut", 12, f"{refused} refused", len(failures)], failures)


def full_memory(bench, outcome):
    """A GPU without memory: an error that says so, and all is well once there is some."""
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    cuda.cuInit(0)
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    cuda.cuCtxSetCurrent(context)
    held, size = [], 1 << 36
    while size >= 1 << 16:
        pointer = ctypes.c_uint64()
        if cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size)) == 0:
            held.append(pointer)
        else:
            size //= 2
    engine, failures = bench.folder / "whole.engine", []
    run = subprocess.run([bench.arguments.redline, "run", engine, "--size", "batch=2"], capture_output=True, text=True)
    build = bench.build(bench.folder / "full.engine")
    for what, done in (("run", run), ("build", build)):
        if done.returncode != 1 or "memory" not in done.stderr:
            failures.append(f"{what} without memory ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    if (bench.folder / "full.engine").exists():
        failures.append("a build without memory left an engine")
    for pointer in held:
        cuda.cuMemFree_v2(pointer)
    if wrong := bench.wrong(engine):
        failures.append(f"with memory again: {wrong}")
    outcome.add(["the GPU's memory full", 2, run.stderr.strip().splitlines()[-1][:90] if run.stderr else "", len(failures)], failures)


def measure(arguments, folder):
    random.seed(5)
    outcome = part.Outcome(["what", "times", "", "failures"])
    bench = Bench(arguments, pathlib.Path(folder))
    killed_builds(bench, outcome, 4 if arguments.quick else 12)
    builds_at_once(bench, outcome, 2 if arguments.quick else 6)
    damaged_database(bench, outcome)
    damaged_engine(bench, outcome)
    if arguments.device == "cuda":
        damaged_kernels(bench, outcome)
        full_memory(bench, outcome)
    outcome.cases = sum(int(row[1]) for row in outcome.rows)
    outcome.also = f"{len(outcome.rows)} kinds of faults"
    return outcome


if __name__ == "__main__":
    sys.exit(part.run("faults", "Faults", part.parser(__doc__).parse_args(), measure))
