#!/bin/sh
# test-bundles.sh BRIG: runs the sample bundles that this system can run, each
# of which ends with status 0 when what it shows is so.
set -u
cd "$(dirname "$0")/.." || exit 1
. tools/lib.sh

brig=${1:?usage: test-bundles.sh BRIG}
case $system in
FreeBSD) here=freebsd ;;
*) here=linux ;;
esac
result=0

# try BUNDLE TEXT: runs it, and looks for TEXT in what it prints.
try() {
	output=$("$brig" run -b "bundles/$1/$here" "sample-$1" </dev/null 2>&1)
	status=$?
	case $status/$output in
	0/*"$2"*) say "ok       $1" ;;
	*)
		say "FAILED   $1: status $status, \"$2\" is looked for in:"
		say "$output"
		result=1
		;;
	esac
}

tools/make-rootfs bundles/rootfs || exit 1
rm -f bundles/hooks/$here/hooks.log
try hello "host name   hello"
try readonly "the root is read-only"
try hooks "the hook startContainer ran in here"
case $(cat bundles/hooks/$here/hooks.log 2>/dev/null) in
"createRuntime
poststart
poststop") ;;
*)
	say "FAILED   hooks: bundles/hooks/$here/hooks.log is not createRuntime, poststart, poststop"
	result=1
	;;
esac
case $here in
linux) try vnet " lo:" ;;
*) try vnet "lo0:" ;;
esac
if [ $here = freebsd ] && [ "$(sysctl -n kern.racct.enable 2>/dev/null)" != 1 ]; then
	say "SKIPPED  limits: set kern.racct.enable=1 in /boot/loader.conf"
else
	try limits "the limit of 20 processes holds"
fi
if [ $here = freebsd ]; then
	# As it stands it takes the brig that is installed.
	program=$(cd "$(dirname "$brig")" && pwd)/$(basename "$brig")
	mkdir -p bundles/nested-here
	cp -R bundles/nested/freebsd bundles/nested-here/
	sed "s|/usr/local/bin/brig|$program|" bundles/nested/freebsd/config.json >bundles/nested-here/freebsd/config.json
	try nested-here "host name   inner"
	rm -r bundles/nested-here
fi
# The shell has a terminal of its own, which shows what is typed and printed.
output=$(printf 'echo in-$((1+1))\nexit 7\n' | "$brig" run -b "bundles/shell/$here" sample-shell 2>&1)
status=$?
case $status/$output in
7/*in-2*) say "ok       shell" ;;
*)
	say "FAILED   shell: status $status, not 7, or no \"in-2\" in:"
	say "$output"
	result=1
	;;
esac
case $("$brig" list -q) in
*sample-*)
	say "FAILED   a container is left: $("$brig" list -q | tr '\n' ' ')"
	result=1
	;;
esac
exit $result
