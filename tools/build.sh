#!/bin/sh
# build.sh: a static target/release/brig.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

cargo_environment
triple=$(host_triple)
cargo build --release --locked --target "$triple" -p brig-oci
install_over "$target_dir/$triple/release/brig" "$target_dir/release/brig"
if has readelf && readelf -lW "$target_dir/release/brig" | grep -q INTERP; then
	die "$target_dir/release/brig is not static"
fi
say "$target_dir/release/brig"
