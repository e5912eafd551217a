#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ./dev gpu-bundle [--python PYTHON]: makes dist/gpu, what the other two need on a machine with a GPU that has no
# compilers: the program, ops_test and the Python module for PYTHON's version.
#
# ./dev gpu-test [--record] [ops] [onnx] [sanitizer]: the cases of tests/ops through every GPU tactic in every
# config, and ONNX's own cases through redline.backend (needs pytest, and xdist to be quick). `sanitizer`, which only
# runs when named, is compute-sanitizer's memcheck over the op cases of the hand-written families.
#
# ./dev gpu-bench [--record] [NETWORK ...]: whole networks beside PyTorch; see bench/run_gpu.py.
#
# --record writes the outcome to bench/results/gpu_test.md or gpu.md. Exit code 1 when something failed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly bundle=dist/gpu results=bench/results/gpu_test.md
jobs=${REDLINE_JOBS:-$(nproc)}

die() { printf 'gpu: %s\n' "$*" >&2; exit 1; }

make_bundle() {
  local python=/usr/bin/python3 pins
  [[ ${1:-} != --python ]] || python=$2
  mapfile -t pins < <(grep -E '^(nanobind|onnx|numpy|protobuf|ml_dtypes|typing_extensions)==' python/requirements.txt)
  [[ -x build/gpu/venv/bin/python ]] || "$python" -m venv build/gpu/venv
  build/gpu/venv/bin/python -m pip install -q --disable-pip-version-check "${pins[@]}"
  cmake -S . -B build/gpu -G Ninja -DCMAKE_BUILD_TYPE=Release -DREDLINE_PYTHON=ON \
    -DPython_EXECUTABLE="$PWD/build/gpu/venv/bin/python" >build/gpu/configure.log || die "see build/gpu/configure.log"
  ninja -C build/gpu -j "$jobs" --quiet bin/redline ops_test _redline
  rm -rf "$bundle"
  mkdir -p "$bundle/python"
  cp build/gpu/bin/redline build/gpu/tests/ops/ops_test "$bundle"
  cp -r build/gpu/python/redline "$bundle/python"
  strip "$bundle"/{redline,ops_test} "$bundle"/python/redline/*.so
  git rev-parse --short=7 HEAD >"$bundle/commit"
  du -sh "$bundle"
}

has_gpu() { "$bundle/redline" version | grep -q cuda: || die "no usable GPU here: $("$bundle/redline" version)"; }
commit() { cat "$bundle/commit"; }
gpu_name() { nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1; }

# The row of a part replaces the one from before.
record_row() { # PART ROW
  local rows
  rows=$(grep -E '^\| [a-z]+ +\| +[0-9]' "$results" 2>/dev/null | grep -v "^| $1 " || true)
  cat >"$results" <<'HEAD'
# Tests on a GPU

What `./dev gpu-test --record` last ran. ops: the cases of tests/ops through every GPU tactic that takes them, in every
config, static and with unknown sizes, outputs poisoned first. onnx: ONNX's backend cases through its own runner, with
its own tolerances; steps that no GPU tactic takes run on the host and say so.

| part      |  cases | failed | also                               | seconds | commit  | date       | GPU, driver |
| --------- | -----: | -----: | ---------------------------------- | ------: | ------- | ---------- | ----------- |
HEAD
  printf '%s\n' "$rows" "$2" | grep . | sort >>"$results"
}

row() { # PART CASES FAILED ALSO SECONDS
  printf '%s: %s cases, %s failed, %s, %s s\n' "$@"
  ((record)) || return 0
  record_row "$1" "$(printf '| %-9s | %6s | %6s | %-34s | %7s | %s | %s | %s |' "$@" "$(commit)" "$(date -u +%F)" "$(gpu_name)")"
}

# After a fault all further cases of a process fail: the first of each file is what counts.
first_failures() { # LOG ...
  local log
  for log in "$@"; do grep -m1 -A2 'tests/ops/.*cases:[0-9]*:' "$log" | cut -c1-400 || true; done
}

test_ops() {
  local logs started=$SECONDS cases failed runs
  logs=$(mktemp -d)
  # shellcheck disable=SC2016
  ls tests/ops/*.cases | xargs -P "$jobs" -I{} sh -c '"$0" --device cuda "$1" >"$2/$(basename "$1")" 2>&1 || true' \
    "$bundle/ops_test" {} "$logs"
  read -r cases failed runs < <(sed -nE 's/.*: ([0-9]+) cases, ([0-9]+) failed, ([0-9]+) tactic runs.*/\1 \2 \3/p' "$logs"/* |
    awk '{cases += $1; failed += $2; runs += $3} END {print cases + 0, failed + 0, runs + 0}')
  # A program that died has no closing line.
  local file ended=0
  for file in "$logs"/*; do
    grep -q ' tactic runs' "$file" && continue
    echo "did not end: $(basename "$file"): $(tail -1 "$file")"
    ended=1
  done
  row ops "$cases" "$((failed + ended))" "$runs runs of tactics" $((SECONDS - started))
  ((failed + ended == 0)) || { first_failures "$logs"/*; return 1; }
}

test_onnx() {
  local log started=$SECONDS workers=()
  log=$(mktemp)
  python3 -c 'import xdist' 2>/dev/null && workers=(-n "$jobs")
  local status=0
  REDLINE_TEST_DEVICE=cuda PYTHONPATH="$PWD/$bundle/python" python3 -m pytest tests/onnx/test_backend.py -q --tb=line \
    -W ignore "${workers[@]}" >"$log" 2>&1 || status=1
  local passed failed skipped
  passed=$(tail -1 "$log" | grep -oE '[0-9]+ passed' | cut -d' ' -f1)
  failed=$(tail -1 "$log" | grep -oE '[0-9]+ failed' | cut -d' ' -f1 || echo 0)
  skipped=$(tail -1 "$log" | grep -oE '[0-9]+ skipped' | cut -d' ' -f1 || echo 0)
  row onnx "$((passed + ${failed:-0}))" "${failed:-0}" "${skipped:-0} skipped, as on the CPU" $((SECONDS - started))
  ((status == 0)) || { grep -vE '^\.*$' "$log" | tail -40; return 1; }
}

test_sanitizer() {
  command -v compute-sanitizer >/dev/null || die "compute-sanitizer is not here"
  local file failed=0 count=0 started=$SECONDS
  for file in attention conv fused gather_rows gemm layer_norm matmul pool recurrent rows softmax tiles transpose_sizes; do
    [[ -f tests/ops/$file.cases ]] || continue
    count=$((count + 1))
    timeout 300 compute-sanitizer --tool memcheck --error-exitcode 9 "$bundle/ops_test" --device cuda \
      "tests/ops/$file.cases" >"/tmp/sanitizer.$file.log" 2>&1 && continue
    failed=$((failed + 1))
    echo "$file: $(grep -m3 -E 'Invalid|Misaligned|ERROR SUMMARY' "/tmp/sanitizer.$file.log")"
  done
  row sanitizer "$count" "$failed" "files of cases, memcheck" $((SECONDS - started))
  ((failed == 0))
}

verb=$1
shift
[[ $verb != bundle ]] || { make_bundle "$@"; exit; }
[[ -x $bundle/redline ]] || die "dist/gpu is missing; make it with: ./dev gpu-bundle"
has_gpu
record=0
[[ ${1:-} != --record ]] || { record=1; shift; }
case $verb in
  test)
    parts=("$@")
    ((${#parts[@]})) || parts=(ops onnx)
    failed=0
    for part in "${parts[@]}"; do "test_$part" || failed=1; done
    exit $failed ;;
  bench)
    folder=$(mktemp -d)
    status=0
    REDLINE_COMMIT=$(commit) python3 bench/run_gpu.py --redline "$bundle/redline" --output "$folder" -- "$@" || status=1
    ((record)) && cp "$folder/gpu.md" "$folder/gpu.json" bench/results/
    exit $status ;;
esac
