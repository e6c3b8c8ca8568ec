#!/bin/sh
# build-shim.sh: a static target/release/containerd-shim-brig-v1.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

cargo_environment
triple=$(host_triple)
cargo build --release --locked --target "$triple" -p brig-shim
install_over "$target_dir/$triple/release/containerd-shim-brig-v1" "$target_dir/release/containerd-shim-brig-v1"
say "$target_dir/release/containerd-shim-brig-v1"
