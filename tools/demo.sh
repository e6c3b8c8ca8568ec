#!/bin/sh
# demo.sh: builds brig, makes a root file system, and runs bundles/hello in it.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

[ "$(id -u)" = 0 ] || die "containers are made by root; run: sudo make demo"
tools/deps.sh build demo
tools/build.sh
cargo_environment
cargo build --release --locked --target "$(host_triple)" --example demo
tools/make-rootfs bundles/rootfs

case $system in
FreeBSD) bundle=bundles/hello/freebsd ;;
*) bundle=bundles/hello/linux ;;
esac
say
say "on the host:"
say "    host name   $(hostname)"
say "    process id  $$"
say "    user        $(id)"
say "the same as a container sees it, and how long each command took:"
exec "$target_dir/$(host_triple)/release/examples/demo" "$target_dir/release/brig" "$bundle"
