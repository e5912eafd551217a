#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sessions of one engine on threads of their own: each output must be, bit for bit, what it is alone.

Each thread has its own session (and so its own stream), its own inputs, and sizes that differ from the others'.
"""

import sys
import threading
import time

import part
import sized

THREADS = 4
FEEDS = 8  # of each thread
SIZES = {
    "resnet50": [{"batch": n} for n in (1, 2, 3, 4)],
    "bert": [{"batch": b, "seq": s} for b, s in ((1, 128), (2, 64), (1, 33), (3, 128))],
    "tiny": [{"batch": b, "seq": s} for b, s in ((1, 16), (2, 9), (5, 16), (3, 4))],
}


def run_together(engine, feeds, want, runs):
    """Runs of each thread that differ from `want`, errors, and the seconds."""
    wrong, errors = [0] * THREADS, []
    ready = threading.Barrier(THREADS + 1)

    def work(thread):
        try:
            session = engine.create_session()
            session.run(feeds[thread][0])
            ready.wait()
            for i in range(runs):
                (got,) = session.run(feeds[thread][i % FEEDS]).values()
                wrong[thread] += got.tobytes() != want[thread][i % FEEDS]
        except Exception as error:  # of another thread: told below
            errors.append(str(error))
            ready.abort()

    threads = [threading.Thread(target=work, args=(t,)) for t in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        ready.wait()
    except threading.BrokenBarrierError:
        pass
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return wrong, errors, time.perf_counter() - started


def measure(arguments, folder):
    import redline

    outcome = part.Outcome(["network", "precision", "threads", "runs", "not as alone", "runs/s alone", "runs/s together"])
    runs = 20 if arguments.quick else 250
    for name in ["tiny"] if arguments.quick else ["resnet50", "bert"]:
        network = sized.load(name, folder)
        engine = redline.build(network.path, device=arguments.device, precision="fp16")
        feeds = [[network.feed(sizes, seed=100 * t + i) for i in range(FEEDS)] for t, sizes in enumerate(SIZES[name])]
        alone = engine.create_session()
        want = [[next(iter(alone.run(feed).values())).tobytes() for feed in row] for row in feeds]
        started = time.perf_counter()
        for i in range(runs):
            alone.run(feeds[i % THREADS][i % FEEDS])
        rate = runs / (time.perf_counter() - started)
        wrong, errors, seconds = run_together(engine, feeds, want, runs)
        failures = [f"{name}: thread {t}: {n} of {runs} runs differ" for t, n in enumerate(wrong) if n]
        failures += [f"{name}: {error}" for error in errors]
        outcome.add([name, "fp16", THREADS, THREADS * runs, sum(wrong), f"{rate:.0f}", f"{THREADS * runs / seconds:.0f}"], failures)
    outcome.cases = len(outcome.rows) * THREADS * runs
    outcome.also = f"{THREADS} threads, bit for bit"
    return outcome


if __name__ == "__main__":
    sys.exit(part.run("sessions", "Sessions on threads", part.parser(__doc__).parse_args(), measure))
