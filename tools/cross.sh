#!/bin/sh
# cross.sh [build|lint|shim-test]: brig, runtime-tests and the tests of a FreeBSD
# host, for FreeBSD, from Linux. It prints the paths of what it built.
#
# Dynamic, against the stubs of libc in PyPI's ziglang; or static, by clang and
# lld, against the FreeBSD installation that FREEBSD_SYSROOT names. Rust's
# library is taken from rustup where it has the target, and is built otherwise.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh

triple=x86_64-unknown-freebsd
ziglang=ziglang==0.17.1
# Another compiler: its results are kept apart.
work=$target_dir/cross

# Sets cargo, clippy and build_std.
find_rust() {
	cargo=cargo clippy="cargo clippy" build_std=
	library=lib/rustlib/src/rust/library/Cargo.lock
	if has rustc; then
		if [ -d "$(rustc --print target-libdir --target $triple 2>/dev/null)" ]; then
			return
		fi
		build_std=-Zbuild-std=std,panic_abort
		if [ -e "$(rustc --print sysroot)/$library" ]; then
			export RUSTC_BOOTSTRAP=1
			return
		fi
	fi
	# Debian's compiler comes with the library's source; rustup's proxies must
	# not get in its way.
	[ -e "/usr/lib/rustlib/src/rust/library/Cargo.lock" ] || tools/deps.sh cross
	PATH=/usr/bin:/bin:/usr/sbin:/sbin
	# By its path: cargo prefers the cargo-clippy of its own directory.
	cargo=/usr/bin/cargo clippy="/usr/bin/cargo-clippy clippy"
	export PATH RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
}

zig() {
	ZIG_PYTHON=$work/venv/bin/python
	if [ "$(cat "$work/venv/.has" 2>/dev/null)" != $ziglang ]; then
		/usr/bin/env python3 -m venv --clear "$work/venv" ||
			die "python3 cannot make a virtual environment; install it with: tools/deps.sh cross"
		"$ZIG_PYTHON" -m pip install --quiet --disable-pip-version-check --only-binary :all: $ziglang
		echo $ziglang >"$work/venv/.has"
	fi
	ZIG_GLOBAL_CACHE_DIR=$work/zig-cache
	export ZIG_PYTHON ZIG_GLOBAL_CACHE_DIR
}

unset RUSTFLAGS
mkdir -p "$work"
[ "$system" = Linux ] || die "cross-building is for Linux; on FreeBSD, make builds natively"
if [ -n "${FREEBSD_SYSROOT:-}" ]; then
	[ -e "$FREEBSD_SYSROOT/usr/lib/libc.a" ] || die "FREEBSD_SYSROOT: there is no $FREEBSD_SYSROOT/usr/lib/libc.a"
	has ld.lld || ls /usr/bin/ld.lld-* >/dev/null 2>&1 || tools/deps.sh sysroot
	kind=static
	flags=$(static_freebsd_flags)
else
	zig
	kind=dynamic
	flags="-C linker=$PWD/tools/zig-cc"
fi
find_rust
export CARGO_TARGET_DIR="$work/$kind" CARGO_TARGET_X86_64_UNKNOWN_FREEBSD_RUSTFLAGS="$flags"

case ${1:-build} in
build)
	$cargo build --workspace --release --locked --target $triple $build_std
	# Tests unwind unless they are told not to, and the library that was built
	# cannot.
	abort=
	[ -z "$build_std" ] || abort=-Zpanic-abort-tests
	# Its name has a hash in it. Nobody times it, so it is built in the time that
	# this profile takes.
	tests=$($cargo build --test freebsd --profile fast --locked --target $triple $build_std $abort \
		--message-format=json-render-diagnostics |
		sed -n 's/.*"executable":"\([^"]*\/freebsd-[0-9a-f]*\)".*/\1/p')
	release=$work/$kind/$triple/release
	cp "${tests:?cargo has named no program}" "$release/freebsd-tests"
	say "$release/brig"
	say "$release/runtime-tests"
	say "$release/freebsd-tests"
	;;
lint)
	# Test programs unwind, so the library must be built to.
	export CARGO_PROFILE_DEV_PANIC=unwind
	[ -z "$build_std" ] || build_std=-Zbuild-std=std,test,panic_unwind
	if $clippy -V >/dev/null 2>&1; then
		$clippy --workspace --all-targets --locked --target $triple $build_std -- -D warnings
	else
		say "cross.sh: this toolchain has no clippy; rustc's own warnings are denied instead"
		CARGO_TARGET_X86_64_UNKNOWN_FREEBSD_RUSTFLAGS="$flags -D warnings"
		$cargo check --workspace --all-targets --locked --target $triple $build_std
	fi
	;;
shim-test)
	# Its tests, as a program. The library that was built does not unwind.
	abort=
	[ -z "$build_std" ] || abort=-Zpanic-abort-tests build_std=$build_std,test
	# Its name has a hash in it.
	tests=$($cargo test --no-run -p brig-shim --release --locked --target $triple $build_std $abort \
		--message-format=json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
	cp "${tests:?cargo has named no program}" "$work/$kind/$triple/release/shim-tests"
	say "$work/$kind/$triple/release/shim-tests"
	;;
*) die "usage: cross.sh [build|lint|shim-test]" ;;
esac
