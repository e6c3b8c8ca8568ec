#!/bin/sh
# conformance.sh [ARGUMENTS]: holds brig, or the runtime that RUNTIME names, to
# the specification by runtime-tests, as root; prints how long it took. On
# FreeBSD it runs where it stands; `make vm-test` runs it in a guest.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

[ "$(id -u)" = 0 ] || die "containers are made by root; run it as root"
cargo_environment
triple=$(host_triple)
runtime=${RUNTIME:-}
if [ -z "$runtime" ]; then
	tools/build.sh
	runtime=$target_dir/release/brig
fi
cargo build --release --locked --target "$triple" -p runtime-tests
begin=$(date +%s)
status=0
"$target_dir/$triple/release/runtime-tests" --runtime "$runtime" "$@" || status=$?
say "after $(($(date +%s) - begin)) s"
exit $status
