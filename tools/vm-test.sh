#!/bin/sh
# vm-test.sh: cross-builds brig and its tests, and runs those of a FreeBSD host
# in a guest. The variables are those of vm-test.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

[ -n "${IMAGE:-}${KERNEL:-}" ] || die "name IMAGE=disk.qcow2, or KERNEL=file and ROOT=file.raw"
# A container's root has no libraries, and the suite and the sample bundles run
# these programs in it.
[ -n "${FREEBSD_SYSROOT:-}" ] || die "name FREEBSD_SYSROOT=DIR, too, a FreeBSD installation (an unpacked base.txz) to link the programs statically against"
tools/deps.sh vm
built=$(tools/cross.sh)
built="$built $(tools/cross.sh shim-test)"
job=$(mktemp -d "${TMPDIR:-/tmp}/vm-job.XXXXXX")
trap 'rm -rf "$job"' EXIT
mkdir "$job/tools"
# shellcheck disable=SC2086 # one path a line
cp $built "$job/"
cp tools/lib.sh tools/make-rootfs tools/test-bundles.sh "$job/tools/"
tar -cf - --exclude rootfs --exclude linux-rootfs --exclude hooks.log bundles | tar -C "$job" -xf -
cp tools/vm-run.sh "$job/run"
# Everything runs twice, perhaps emulated.
VM_TIMEOUT=${VM_TIMEOUT:-7200} tools/vm-test "$job"
