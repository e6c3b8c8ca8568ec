# Sourced by the other scripts of this directory: names, cargo's environment.
# shellcheck shell=sh

system=$(uname -s)
case ${CARGO_TARGET_DIR:-target} in
/*) target_dir=$CARGO_TARGET_DIR ;;
*) target_dir=$PWD/${CARGO_TARGET_DIR:-target} ;;
esac

say() {
	printf '%s\n' "$*"
}

die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

has() {
	command -v "$1" >/dev/null 2>&1
}

# The triple that cargo builds for when nothing else is said.
host_triple() {
	rustc -vV | sed -n 's/^host: //p'
}

# What cargo needs to make static programs. Call it before every cargo.
cargo_environment() {
	has cargo || die "there is no cargo; install Rust 1.91 or newer: https://rustup.rs (FreeBSD: pkg install rust)"
	# It would replace the flags of .cargo/config.toml, which make the program static.
	unset RUSTFLAGS
	case $system in
	Linux)
		# libseccomp-sys looks for the archive in one directory only.
		archive=$(${CC:-cc} -print-file-name=libseccomp.a 2>/dev/null) || archive=
		case $archive in
		/*) LIBSECCOMP_LIB_PATH=${LIBSECCOMP_LIB_PATH:-$(dirname "$archive")} ;;
		*) [ -n "${LIBSECCOMP_LIB_PATH:-}" ] || die "there is no libseccomp.a; install it with: make deps" ;;
		esac
		export LIBSECCOMP_LIB_PATH
		;;
	FreeBSD)
		triple=$(host_triple | tr 'a-z-' 'A-Z_')
		export "CARGO_TARGET_${triple}_RUSTFLAGS=$(static_freebsd_flags)"
		;;
	esac
}

# rustc has no crt-static for FreeBSD, so the linker is told.
static_freebsd_flags() {
	printf '%s' "-C relocation-model=static -C linker=$PWD/tools/freebsd-static-cc"
}

# install_over SOURCE TARGET: replaces TARGET whole, also while it runs.
install_over() {
	mkdir -p "$(dirname "$2")"
	cp "$1" "$2.new.$$" && mv -f "$2.new.$$" "$2"
}

# debian_packages TEST PACKAGE...: installs those that are missing. A service
# that a package starts is none of the test's: it has its own.
debian_packages() {
	test=$1
	shift
	missing=
	for package; do
		dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	say "$test: installing:$missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	# shellcheck disable=SC2086
	RUNLEVEL=1 apt-get install -y --no-install-recommends $missing </dev/null
}
