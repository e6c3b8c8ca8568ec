#!/bin/sh
# test.sh: installs what the tests need, and runs all of them: cargo's, and
# runtime-tests against the release build. It goes on past a failure, and ends
# with the result of each part and a status that is 0 when all passed.
set -u
cd "$(dirname "$0")/.." || exit 1
. tools/lib.sh

result=0
summary=

# part NAME COMMAND...
part() {
	name=$1
	shift
	say "== $name"
	status=0
	"$@" || status=$?
	if [ "$status" = 0 ]; then
		summary="$summary
$name: passed"
	else
		summary="$summary
$name: FAILED with status $status"
		result=1
	fi
}

tools/deps.sh build demo test || say "test: going on without what is missing"
cargo_environment
triple=$(host_triple)

part "cargo test" cargo test --workspace --locked
if has mandoc; then
	part "manual pages" mandoc -Tlint -Wwarning man/*.8
else
	summary="$summary
manual page: SKIPPED, because there is no mandoc here"
fi
part "release build" tools/build.sh
part "runtime-tests build" cargo build --release --locked --target "$triple" -p runtime-tests
if [ "$(id -u)" = 0 ]; then
	part "sample bundles" tools/test-bundles.sh "$target_dir/release/brig"
	part "runtime-tests" "$target_dir/$triple/release/runtime-tests" --runtime "$target_dir/release/brig"
else
	summary="$summary
sample bundles, runtime-tests: SKIPPED, because containers are made by root; run make test as root"
fi
say "== summary$summary"
exit $result
