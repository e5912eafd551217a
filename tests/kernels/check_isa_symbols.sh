#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_isa_symbols.sh OBJECT...: an object compiled for a newer instruction set must define no weak
# symbol outside its own namespace: the linker might keep that copy for callers of every machine.
for object in "$@"; do
  bad=$(nm -C --defined-only "$object" |
    awk '$2 ~ /^[WVu]$/' | grep -v -E 'redline::kernels::(avx2|avx512|sse4)::|DW\.ref\.')
  if [ -n "$bad" ]; then
    echo "$object shares these symbols with other translation units:"
    echo "$bad"
    exit 1
  fi
done
echo "$# objects share no symbols"
