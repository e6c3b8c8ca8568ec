#!/bin/sh
# test-images.sh [WORD]...: installs the tools that write and read images, and
# compares what they and brig make of the same ones. BRIG names a program to
# test in place of this tree's; a WORD chooses the cases that have it.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

[ "$system" = Linux ] || die "the tools' packages are Debian's"
[ "$(id -u)" = 0 ] || die "owners and devices are made by root; run it as root"

debian_packages test-images skopeo umoci podman buildah containerd runc libarchive-tools attr libcap2-bin busybox-static
tools/deps.sh build
cargo_environment
[ -z "${BRIG:-}" ] || set -- --brig "$BRIG" "$@"
exec cargo test --locked --test images -- "$@"
