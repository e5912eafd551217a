#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ./dev sanitize [--record] [asan] [tsan]: builds and runs the tests under the sanitizers. --record writes the
# outcome to bench/results/sanitizers.md. Exit code 1 when a test failed.
#
# asan: AddressSanitizer and UndefinedBehaviorSanitizer over all of CTest and pytest. Leaks are looked for in C++
# tests and in the program, not in the interpreter, which leaks by design.
# tsan: ThreadSanitizer over the tests of what threads share. Without oneDNN, since it does not see libgomp
# synchronise; Redline's own kernels run instead.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly results=bench/results/sanitizers.md
readonly threaded='thread_pool|compiler_test|executor|hostile_plan|engine_test|gemm|movement|pointwise'
# The emulated GPU switches stacks by hand, which ThreadSanitizer cannot follow; an engine of more than 2 GB takes more
# memory under it than machines have.
readonly not_threaded='^(gpu_|large_)'
record=0 presets=()
while (($#)); do
  case $1 in
    --record) record=1; shift ;;
    asan | tsan) presets+=("$1"); shift ;;
    *) echo "sanitize: unknown argument $1" >&2; exit 2 ;;
  esac
done
((${#presets[@]})) || presets=(asan tsan)

record_row() { # PRESET ROW
  local rows
  rows=$(grep -E '^\| (asan|tsan) ' "$results" 2>/dev/null | grep -v "^| $1 " || true)
  cat >"$results" <<'HEAD'
# Sanitizers

What `./dev sanitize --record` last ran. asan: AddressSanitizer with leak check and UndefinedBehaviorSanitizer over
all of CTest and pytest; the interpreter's own process is not checked for leaks, since CPython leaks by design. tsan:
ThreadSanitizer over the tests of what threads share, without oneDNN, whose OpenMP run time it cannot follow.

| preset | CTest                           | pytest                          | minutes | commit  | date       |
| ------ | ------------------------------- | ------------------------------- | ------: | ------- | ---------- |
HEAD
  printf '%s\n' "$rows" "$2" | grep . | sort >>"$results"
}

commit=$(git rev-parse --short=7 HEAD 2>/dev/null || echo unknown)
failed=0
for preset in "${presets[@]}"; do
  build=build/$preset log=build/$preset/sanitize.log started=$SECONDS pytests=-
  REDLINE_PRESET=$preset ./dev build
  select=()
  [[ $preset == tsan ]] && select=(-R "$threaded" -E "$not_threaded")
  ctest --test-dir "$build" --output-on-failure -j "${REDLINE_JOBS:-$(nproc)}" "${select[@]}" >"$log" 2>&1 || failed=1
  tests=$(sed -n 's/^\([0-9]*% tests passed.*\)/\1/p' "$log")
  if [[ $preset == asan ]]; then
    REDLINE_PRESET=$preset ./dev python -m pytest tests -q >"$log.pytest" 2>&1 || failed=1
    pytests=$(tail -n 1 "$log.pytest" | tr -d '=' | sed 's/ in .*//; s/^ *//')
  fi
  echo "$preset: CTest: ${tests:-none ran}; pytest: $pytests"
  ((failed)) && grep -hE 'ERROR: |runtime error|\*\*\*Failed|^FAILED' "$log" "$log.pytest" 2>/dev/null >&2 || true
  ((record)) || continue
  record_row "$preset" "$(printf '| %-6s | %-31s | %-31s | %7s | %7s | %10s |' "$preset" "${tests:-none}" \
    "$pytests" $(((SECONDS - started + 59) / 60)) "$commit" "$(date -u +%F)")"
done
exit $failed
