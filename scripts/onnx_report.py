#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs ONNX's backend cases on redline.backend and prints a table of what passed.

Every case runs in a forked process, so that a crash or a hang counts as one failed case.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import signal
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "onnx"))

import cases  # noqa: E402

SECONDS = 60  # for one case
OLDEST_OPSET = 7
HEADER = "# Cases of ONNX's set that do not pass yet, sorted. A case that passes must leave; none may come.\n"


def run_all(to_run):
    """{name: "" or the reason of the failure}; goes on in a new process after a crash."""
    results = {}
    while len(results) < len(to_run):
        remaining = [case for case in to_run if case.name not in results]
        results.update(_run_in_child(remaining))
    return results


def _run_in_child(remaining):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run_each(remaining, writer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        results = dict(json.loads(line) for line in lines)
    _, status = os.waitpid(child, 0)
    if len(results) < len(remaining):
        name = remaining[len(results)].name
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        results[name] = f"process ended: {signal.Signals(number).name if number else status}"
    return results


def _run_each(remaining, writer):
    for case in remaining:
        signal.alarm(SECONDS)
        try:
            case.run()
            reason = ""
        except Exception as error:  # noqa: BLE001 - any error is a failed case
            first = (line.strip() for line in str(error).splitlines() if line.strip())
            reason = f"{type(error).__name__}: {next(first, '')}"
        signal.alarm(0)
        os.write(writer, (json.dumps([case.name, reason]) + "\n").encode())


def print_table(everything, results, skipped):
    groups = list(dict.fromkeys(case.group for case in everything.values()))
    print(f"| {'cases':<32} | passed | failed | skipped | total |")
    print(f"|{'-' * 34}|-------:|-------:|--------:|------:|")
    for group in [*groups, "all"]:
        names = [name for name, case in everything.items() if group in ("all", case.group)]
        left_out = sum(name in skipped for name in names)
        failed = sum(bool(results.get(name)) for name in names)
        passed = len(names) - left_out - failed
        print(f"| {group:<32} | {passed:6} | {failed:6} | {left_out:7} | {len(names):5} |")


def print_failures(everything, results):
    by_ops = collections.Counter()
    for name, reason in results.items():
        if reason:
            print(f"{name}: {reason[:200]}")
            by_ops[", ".join(everything[name].ops[:4]) or everything[name].group] += 1
    print("\nfailures by ops:")
    for ops, count in by_ops.most_common():
        print(f"{count:5} {ops}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--match", default="", help="only cases whose name this expression finds")
    parser.add_argument("--failures", action="store_true", help="print each failure and its reason")
    parser.add_argument("--json", type=pathlib.Path, help="write {case: reason or empty} here")
    parser.add_argument("--update", action="store_true", help="rewrite tests/onnx/known_failures.txt")
    arguments = parser.parse_args()
    if arguments.update and arguments.match:
        parser.error("--update needs all cases, so it does not go with --match")

    import op_coverage
    import redline.backend

    everything = cases.collect(redline.backend)
    everything = {n: c for n, c in everything.items() if re.search(arguments.match, n)}
    skipped = {name for name in cases.skips() if name in everything}
    results = run_all([case for name, case in everything.items() if name not in skipped])
    if arguments.failures:
        print_failures(everything, results)
    print_table(everything, results, skipped)
    names = op_coverage.ops_since(OLDEST_OPSET)
    unknown = sorted(op_coverage.unknown_ops(names))
    print(f"\nops of opset {OLDEST_OPSET} and newer with an import rule: {len(names) - len(unknown)} of "
          f"{len(names)}; without: {', '.join(unknown) or 'none'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    failed = sorted(name for name, reason in results.items() if reason)
    if arguments.update:
        (cases.FOLDER / "known_failures.txt").write_text(HEADER + "".join(f"{n}\n" for n in failed))


if __name__ == "__main__":
    main()
