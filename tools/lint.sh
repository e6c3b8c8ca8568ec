#!/bin/sh
# lint.sh: clippy on everything, warnings denied.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

cargo_environment
cargo clippy --workspace --all-targets --locked -- -D warnings
