# SPDX-License-Identifier: Apache-2.0
"""Says at the end how many of ONNX's cases computed in 16 bits, where that was asked for."""

import collections

import precision


def pytest_terminal_summary(terminalreporter):
    if precision.PRECISION == "fp32":
        return
    passed = [report for report in terminalreporter.stats.get("passed", []) if report.when == "call"]
    retyped = sum("test_retyped[" in report.nodeid for report in passed)
    lowered = sum(("lowered", True) in map(tuple, report.user_properties) for report in passed)
    terminalreporter.write_line(
        f"{retyped} node cases retyped to {precision.PRECISION}, {lowered} cases lowered to it"
    )
    reasons = collections.Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if "test_retyped[" in report.nodeid
    )
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"  {count}x {reason[:200]}")
