#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ./dev fuzz [--runs N] [--seconds S] [--record] [TARGET ...]: runs each libFuzzer target on its corpus. New
# inputs go to build/fuzz/corpus/TARGET; crashes to build/fuzz/crashes. `--runs 0` replays the corpora only.
# --record writes what was run to bench/results/fuzz.md. Exit code 1 when any target failed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly results=bench/results/fuzz.md
runs=1000000 seconds=0 record=0 targets=()
while (($#)); do
  case $1 in
    --runs) runs=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    --record) record=1; shift ;;
    -*) echo "fuzz: unknown option $1" >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
  esac
done
if ((${#targets[@]} == 0)); then
  for source in tests/fuzz/*_fuzz.cc; do
    target=${source##*/}
    targets+=("${target%_fuzz.cc}")
  done
fi

mkdir -p build/fuzz/crashes
cmake --preset fuzz >build/fuzz/configure.log 2>&1 || { cat build/fuzz/configure.log >&2; exit 1; }
ninja -C build/fuzz -j "${REDLINE_JOBS:-$(nproc)}" --quiet "${targets[@]/#/fuzz_}" >&2

# The row of a target replaces the one from before.
record_row() { # TARGET ROW
  local rows
  rows=$(grep -E '^\| [a-z]+ +\| +[0-9]' "$results" 2>/dev/null | grep -v "^| $1 " || true)
  cat >"$results" <<'HEAD'
# Fuzzing

What `./dev fuzz --record` last ran: libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer, leaks
checked, inputs of up to 64 KiB. No single allocation may be over 64 MB, and what is held at once not over four
times the input and 64 MB (`tests/fuzz/allocation_bound.h`); an input may take 10 seconds. The memory is the
whole process's, with the sanitizer's and the corpus.

| target | executions | seconds | memory (MB) | findings | commit  | date       |
| ------ | ---------: | ------: | ----------: | -------: | ------- | ---------- |
HEAD
  printf '%s\n' "$rows" "$2" | grep . | sort >>"$results"
}

commit=$(git rev-parse --short=7 HEAD 2>/dev/null || echo unknown)
readonly max_len=65536 malloc_limit_mb=64
failed=0
for target in "${targets[@]}"; do
  found=build/fuzz/corpus/$target log=build/fuzz/$target.log
  mkdir -p "$found"
  status=passed findings=0 started=$SECONDS
  "build/fuzz/tests/fuzz/fuzz_$target" "$found" "tests/fuzz/corpus/$target" -runs="$runs" \
    -max_total_time="$seconds" -max_len=$max_len -malloc_limit_mb=$malloc_limit_mb -rss_limit_mb=2048 \
    -timeout=10 -print_final_stats=1 -artifact_prefix="build/fuzz/crashes/$target-" \
    >"$log" 2>&1 || { status=FAILED; findings=1; failed=1; }
  stat() { sed -n "s/^stat::$1: *//p" "$log"; }
  executed=$(stat number_of_executed_units) memory=$(stat peak_rss_mb)
  printf '%-8s %9s executions  %s\n' "$target" "${executed:-?}" "$status"
  [[ $status == passed ]] || { tail -n 30 "$log" >&2; }
  ((record)) || continue
  record_row "$target" "$(printf '| %-6s | %10s | %7s | %11s | %8s | %7s | %10s |' "$target" \
    "${executed:-0}" $((SECONDS - started)) "${memory:-0}" $findings "$commit" "$(date -u +%F)")"
done
exit $failed
