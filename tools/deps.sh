#!/bin/sh
# deps.sh [build|demo|test|cross|sysroot|vm]...: installs what is missing, by
# apt-get or pkg, and says what. The default is what make test needs.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

[ $# -gt 0 ] || set -- build demo test
missing=

# need PACKAGE: notes a package that is not installed.
need() {
	case $system in
	FreeBSD) pkg info -e "$1" 2>/dev/null && return ;;
	*) dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q ' installed$' && return ;;
	esac
	missing="$missing $1"
}

for purpose; do
	case $system/$purpose in
	FreeBSD/build) has cargo || need rust ;;
	FreeBSD/demo | FreeBSD/test) ;;
	Linux/build)
		has "${CC:-cc}" || need gcc
		[ -e /usr/include/stdio.h ] || need libc6-dev
		case $(${CC:-cc} -print-file-name=libseccomp.a 2>/dev/null) in
		/*) ;;
		*) [ -n "${LIBSECCOMP_LIB_PATH:-}" ] || need libseccomp-dev ;;
		esac
		;;
	Linux/demo) has busybox || need busybox-static ;;
	Linux/test)
		has mandoc || need mandoc
		;;
	Linux/cross)
		for package in rustc-web cargo-web rust-web-src rust-web-clippy rust-web-llvm; do need $package; done
		python3 -c 'import ensurepip' 2>/dev/null || need python3-venv
		;;
	Linux/sysroot)
		need clang
		need lld
		;;
	Linux/vm)
		has qemu-system-x86_64 || need qemu-system-x86
		has python3 || need python3
		has xz || need xz-utils
		;;
	*) die "$purpose: not needed on $system" ;;
	esac
done

missing=${missing# }
if [ -z "$missing" ]; then
	say "deps: nothing is missing for: $*"
	exit 0
fi
case $system in
FreeBSD) install="pkg install -y $missing" ;;
*) install="apt-get install -y --no-install-recommends $missing" ;;
esac
if [ "$(id -u)" != 0 ]; then
	die "missing: $missing; as root: $install"
fi
[ "$system" = FreeBSD ] || has apt-get || die "missing (named as Debian's packages): $missing"
say "deps: installing: $missing"
if [ "$system" = Linux ]; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
fi
# shellcheck disable=SC2086
$install </dev/null
