#!/bin/sh
# What vm-test.sh runs in the guest, by root, in the job's directory.
PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin
export PATH
result=0
uname -a
echo "== sample bundles"
tools/test-bundles.sh ./brig || result=1
echo "== runtime-tests"
# An emulated guest is slow.
./runtime-tests --runtime ./brig --patience 120 || result=1
echo "== freebsd-tests"
./freebsd-tests --brig ./brig || result=1
# Without what FreeBSD 15 has and 14 has not.
policy=$PWD/without.json
echo '{"jailDescriptors": false, "jailMeta": false}' >"$policy"
echo "== runtime-tests as on FreeBSD 14"
./runtime-tests --runtime ./brig --patience 120 --runtime-arg --policy --runtime-arg "$policy" || result=1
echo "== freebsd-tests as on FreeBSD 14"
./freebsd-tests --brig ./brig --policy "$policy" || result=1
echo "== the shim's tests"
tools/make-rootfs rootfs
BRIG=$PWD/brig ROOTFS=$PWD/rootfs ./shim-tests --include-ignored --test-threads 1 || result=1
exit $result
