# SPDX-License-Identifier: Apache-2.0
"""Which of ONNX's own node and simple cases have steps on the host in an engine for a GPU, and why.

    python tests/onnx/host_steps.py [--target sm_90a] [part of a case's name]

Needs NVRTC, but no GPU. Prints the number of cases by op, and the reasons.
"""

import argparse
import collections
import multiprocessing
import os
import re
import warnings

import onnx
import redline
from onnx.backend.test.loader import load_model_tests

# "op 'name': reason" for each step, in one message.
STEP = re.compile(r"(?:^|; )([a-z_0-9]+) '.*?': (.*?)(?=; [a-z_0-9]+ '|; and \d+ more|$)", re.DOTALL)


def steps_of(model, target):
    """{op: reason}; redline.Error where the model cannot be built."""
    found = {}

    def log(severity, message):
        if "on the host: " in message:
            found.update(STEP.findall(message.split("on the host: ", 1)[1]))

    redline.build(
        model,
        device="cuda",
        target=target,
        fallback="allow",
        opt_level=1,
        tuning_database=False,
        log=log,
    )
    return found


def host_steps(case):
    """(name, {op: reason}), or (name, None) where the model cannot be built."""
    name, model, target = case
    try:
        return name, steps_of(model, target)
    except redline.Error:
        return name, None


def cases(part, target):
    for kind in ("node", "simple"):
        for case in load_model_tests(kind=kind):
            if part not in case.name:
                continue
            model = case.model or onnx.load(os.path.join(case.model_dir, "model.onnx"))
            yield f"{kind}/{case.name}", model.SerializeToString(), target


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="?", default="")
    parser.add_argument("--target", default="sm_90a")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the cases overflows and divides by zero on purpose
        wanted = list(cases(arguments.part, arguments.target))
    with multiprocessing.Pool() as pool:
        results = pool.map(host_steps, wanted, chunksize=4)
    by_op = collections.defaultdict(list)
    for name, found in results:
        for op, reason in (found or {}).items():
            by_op[op].append((reason, name))
    for op, where in sorted(by_op.items(), key=lambda item: -len(item[1])):
        reasons = collections.Counter(reason for reason, _ in where)
        print(f"{len(where):5} {op}: {'; '.join(reasons)} (e.g. {where[0][1]})")
    with_steps = sum(bool(found) for _, found in results)
    skipped = sum(found is None for _, found in results)
    print(f"{with_steps} of {len(results)} cases have steps on the host, {skipped} are not imported")


if __name__ == "__main__":
    main()
