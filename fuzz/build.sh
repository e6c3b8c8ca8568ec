#!/bin/sh
# build.sh: the fuzz targets, as cargo-fuzz builds them with --sanitizer none,
# but by any toolchain that has its own LLVM: `fuzz/build.sh` prints where they
# are. Then:
#
#     TMPDIR=/dev/shm .../layer -runs=10000000 -max_len=400 DIR fuzz/corpus/layer
#
# DIR is an empty directory that new inputs go to.
set -eu
cd "$(dirname "$0")"
coverage="-Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-level=4"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-pc-table"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 $coverage"
cargo build --release "$@"
target=${CARGO_TARGET_DIR:-$PWD/target}
ls "$target"/*/release/layer "$target"/*/release/manifest
