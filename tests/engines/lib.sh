# Sourced by run: operations, what they must give, and the tally.
# shellcheck shell=sh disable=SC2016,SC2034,SC2086,SC2154

passed=0
failed=0
skipped=0

say() {
	printf '%s\n' "$*"
}

die() {
	printf 'run: %s\n' "$*" >&2
	exit 1
}

has() {
	command -v "$1" >/dev/null 2>&1
}

# What was printed, without what a terminal adds: script(1) types an end of
# input, which is echoed as ^@ or ^D.
printed() {
	tr -d '\000\r\b' <"$work/out" | sed 's/^\(\^[@D]\)*//'
}

# The first line that says something, short enough for a table.
gist() {
	printed | sed -n '/[^ ]/{p;q;}' | cut -c1-160
}

# verdict NAME STATUS WANTED PATTERN: notes what an operation gave.
#
# runc and crun only give the measure. What brig fails and runc fails as well,
# with the same status, is the machine's or the engine's: it counts as skipped,
# and the line says what was seen.
verdict() {
	if [ "$2" != "$3" ]; then
		what="status $2, not $3: $(gist)"
	elif [ -n "$4" ] && ! printed | grep -Eq -e "$4"; then
		what="no \"$4\" in: $(gist)"
	else
		what=pass
	fi
	printf '%s\t%s\t%s\n' "$1" "$2" "$what" >>"$work/result.$engine.$runtime"
	[ "$runtime" = brig ] || return 0
	peer=$(awk -F '\t' -v name="$1" '$1 == name' "$work/result.$engine.runc" 2>/dev/null | tail -n 1)
	peer_status=$(printf '%s' "$peer" | cut -f2)
	peer_what=$(printf '%s' "$peer" | cut -f3)
	if [ "$what" = pass ]; then
		say "pass  $engine: $1"
		passed=$((passed + 1))
	elif [ -n "$peer_what" ] && [ "$peer_what" != pass ] && [ "$peer_status" = "$2" ]; then
		say "skip  $engine: $1: runc fails as well: $peer_what"
		skipped=$((skipped + 1))
	else
		say "FAIL  $engine: $1: $what"
		sed 's/^/      | /' "$work/out" | head -n 20
		failed=$((failed + 1))
	fi
}

# is_a_measure: whether the runtime could do what was asked of it last. One that
# runs nothing on this machine measures nothing.
is_a_measure() {
	[ "$runtime" != brig ] && [ "$what" != pass ] || return 0
	say "      $engine: $runtime runs nothing here: $what"
	return 1
}

# op NAME STATUS PATTERN COMMAND...: runs the command, which must end with the
# status and print a line that matches the extended regular expression.
op() {
	op_name=$1 op_status=$2 op_pattern=$3
	shift 3
	status=0
	timeout -k 5 "${limit:-60}" "$@" </dev/null >"$work/out" 2>&1 || status=$?
	verdict "$op_name" "$status" "$op_status" "$op_pattern"
}

# tty_op NAME STATUS PATTERN INPUT WORDS: as op, on a terminal whose keyboard
# types INPUT. WORDS are one string for the shell. The keyboard stays there for
# a while: when it is gone, podman loses output, whatever the runtime.
tty_op() {
	status=0
	# The pause lets the engine put the terminal into raw mode first.
	(
		sleep 1.5
		printf '%b' "$4"
		sleep 1
	) | timeout -k 5 60 script -qec "$5" /dev/null >"$work/out" 2>&1 || status=$?
	verdict "$1" "$status" "$2" "$3"
}

# check NAME COMMAND...: a check of the test's own, for brig only. What it
# prints is the reason when it fails.
check() {
	check_name=$1
	shift
	if "$@" >"$work/out" 2>&1; then
		say "pass  $engine: $check_name"
		passed=$((passed + 1))
		printf '%s\t0\tpass\n' "$check_name" >>"$work/result.$engine.$runtime"
	else
		say "FAIL  $engine: $check_name: $(gist)"
		sed 's/^/      | /' "$work/out" | head -n 20
		failed=$((failed + 1))
		printf '%s\t1\tfail\n' "$check_name" >>"$work/result.$engine.$runtime"
	fi
}

# skip WHAT WHY
skip() {
	say "skip  $engine: $1: $2"
	skipped=$((skipped + 1))
}

# wait_for COMMAND...: until it succeeds, ten seconds at most.
wait_for() {
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || return 1
		sleep 0.1
	done
}

# nothing_left DIRECTORY...: no container's state and no mount stays behind.
nothing_left() {
	for directory; do
		for entry in "$directory"/*; do
			[ -e "$entry" ] || continue
			echo "left behind: $entry"
			return 1
		done
	done
	if grep -F " $work/" /proc/mounts | grep -vF " $work/mounted" | grep -q .; then
		echo "still mounted: $(grep -F " $work/" /proc/mounts | head -n 3 | cut -d' ' -f2)"
		return 1
	fi
}
