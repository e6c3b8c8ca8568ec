#!/bin/sh
# test-engines.sh [podman|buildah|ctr|shim]...: installs the engines, builds
# brig and its shim, and drives both by the engines, beside runc and crun.
# BRIG and SHIM name programs to test in place of those of this tree, TABLE a
# file that the results are written to as Markdown.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

[ "$system" = Linux ] || die "the engines' packages are Debian's; on FreeBSD see docs/engines.md"
[ "$(id -u)" = 0 ] || die "containers are made by root; run it as root"

debian_packages test-engines podman conmon catatonit buildah containerd runc crun busybox-static bsdutils

[ -n "${BRIG:-}" ] && [ -n "${SHIM:-}" ] || tools/deps.sh build
if [ -z "${BRIG:-}" ]; then
	tools/build.sh
	BRIG=$target_dir/release/brig
fi
case $BRIG in
/*) ;;
*) BRIG=$PWD/$BRIG ;;
esac
result=0
if [ -z "${SHIM:-}" ]; then
	tools/build-shim.sh
	SHIM=$target_dir/release/containerd-shim-brig-v1
	# The shim's tests that need root and a real brig.
	rootfs=$(mktemp -d)
	trap 'rm -rf "$rootfs"' EXIT
	tools/make-rootfs "$rootfs"
	cargo_environment
	BRIG=$BRIG ROOTFS=$rootfs cargo test -p brig-shim --locked -- --ignored || result=1
else
	say "test-engines: the shim's own tests are not run, because SHIM names a program that was built elsewhere"
fi
set -- --brig "$BRIG" --shim "$SHIM" "$@"
[ -z "${TABLE:-}" ] || set -- --table "$TABLE" "$@"
tests/engines/run "$@" || result=1
[ $result = 0 ] || say "test-engines: FAILED"
exit $result
