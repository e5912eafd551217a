#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ./dev fuzz [--runs N] [--seconds S] [TARGET ...]: runs each libFuzzer target on its corpus. New inputs go
# to build/fuzz/corpus/TARGET; crashes to build/fuzz/crashes. Exit code 1 when any target failed.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=1000000 seconds=0 targets=()
while (($#)); do
  case $1 in
    --runs) runs=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
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

cmake --preset fuzz >build/fuzz.log 2>&1 || { cat build/fuzz.log >&2; exit 1; }
ninja -C build/fuzz --quiet "${targets[@]/#/fuzz_}" >&2
mkdir -p build/fuzz/crashes

# An input of 64 KiB may make us allocate at most 4 times its size and 64 MB.
readonly max_len=65536 malloc_limit_mb=64
failed=0
for target in "${targets[@]}"; do
  found=build/fuzz/corpus/$target log=build/fuzz/$target.log
  mkdir -p "$found"
  status=passed
  "build/fuzz/tests/fuzz/fuzz_$target" "$found" "tests/fuzz/corpus/$target" -runs="$runs" \
    -max_total_time="$seconds" -max_len=$max_len -malloc_limit_mb=$malloc_limit_mb -rss_limit_mb=2048 \
    -timeout=10 -print_final_stats=1 -artifact_prefix="build/fuzz/crashes/$target-" \
    >"$log" 2>&1 || { status=FAILED; failed=1; }
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  printf '%-8s %9s executions  %s\n' "$target" "${executed:-?}" "$status"
  [[ $status == passed ]] || { tail -n 30 "$log" >&2; }
done
exit $failed
