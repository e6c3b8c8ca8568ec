# Sourced by run: operations, what they must give, and the tally.
# shellcheck shell=sh disable=SC2016,SC2034,SC2086,SC2154

passed=0
failed=0
skipped=0
# What engines put before brig's line.
before='brig: '
begun=$(date +%s)

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

# seen NAME STATUS WHAT: notes what an operation gave, "pass" or the reason, and
# counts it.
#
# runc and crun only give the measure. What brig fails and runc fails as well,
# with the same status, is the machine's or the engine's: it counts as skipped,
# and the line says what was seen.
seen() {
	printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$work/result.$engine.$runtime"
	[ "$runtime" = brig ] || return 0
	peer=$(awk -F '\t' -v name="$1" '$1 == name' "$work/result.$engine.runc" 2>/dev/null | tail -n 1)
	peer_status=$(printf '%s' "$peer" | cut -f2)
	peer_what=$(printf '%s' "$peer" | cut -f3)
	if [ "$3" = pass ]; then
		say "pass  $engine: $1"
		passed=$((passed + 1))
	elif [ -n "$peer_what" ] && [ "$peer_what" != pass ] && [ "$peer_status" = "$2" ]; then
		say "skip  $engine: $1: runc fails as well: $peer_what"
		skipped=$((skipped + 1))
	else
		say "FAIL  $engine: $1: $3"
		sed 's/^/      | /' "$work/out" | head -n 20
		failed=$((failed + 1))
	fi
}

# gave STATUS PATTERN: whether that is what the last command gave; else $what
# says what it did.
gave() {
	if [ "$status" != "$1" ]; then
		what="status $status, not $1: $(gist)"
	elif [ -n "$2" ] && ! printed | grep -Eq -e "$2"; then
		what="no \"$2\" in: $(gist)"
	else
		what=pass
	fi
	[ "$what" = pass ]
}

# is_a_measure: whether the runtime could do what was asked of it last. One that
# runs nothing on this machine measures nothing.
is_a_measure() {
	[ "$runtime" != brig ] && [ "$what" != pass ] || return 0
	say "      $engine: $runtime runs nothing here: $what"
	return 1
}

run_it() {
	status=0
	timeout -k 5 60 "$@" </dev/null >"$work/out" 2>&1 || status=$?
}

# op NAME STATUS PATTERN COMMAND...: runs the command, which must end with the
# status and print a line that matches the extended regular expression.
op() {
	op_name=$1 op_status=$2 op_pattern=$3
	shift 3
	run_it "$@"
	gave "$op_status" "$op_pattern"
	seen "$op_name" "$status" "$what"
}

# op_until: as op, of what takes its time: again until it is so.
op_until() {
	op_name=$1 op_status=$2 op_pattern=$3 op_end=$(($(date +%s) + patience))
	shift 3
	while :; do
		run_it "$@"
		! gave "$op_status" "$op_pattern" && [ "$(date +%s)" -lt $op_end ] || break
		sleep 0.1
	done
	seen "$op_name" "$status" "$what"
}

# wrong NAME STATUS PATTERN COMMAND...: as op, of something that must fail. After
# $tidy, which removes what the engine keeps of it, $left prints nothing.
wrong() {
	op "$@"
	$tidy >/dev/null 2>&1
	[ "$runtime" = brig ] || return 0
	$left 2>/dev/null | sed "s/^/$1: /" >>"$work/left"
}

# line TEXT: the pattern of brig's line; the others have words of their own.
line() {
	case $runtime in
	brig) printf '%s' "$before$1" ;;
	*) printf . ;;
	esac
}

# cgroups EXPRESSION: of find. Those of other programs come and go meanwhile.
cgroups() {
	find /sys/fs/cgroup -type d "$@" 2>/dev/null
}

none_is_left() {
	cat "$work/left"
	test ! -s "$work/left"
}

has_a_prompt() {
	printed | grep -q '[#$] '
}

# tty_op NAME STATUS PATTERN INPUT WORDS: as op, on a terminal whose keyboard
# types INPUT once a shell has prompted. WORDS are one string for the shell. The
# keyboard stays until the end: when it is gone, podman loses output, whatever
# the runtime.
tty_op() {
	rm -f "$work/keyboard"
	mkfifo "$work/keyboard"
	: >"$work/out"
	timeout -k 5 60 script -qefc "$5" /dev/null <"$work/keyboard" >"$work/out" 2>&1 &
	script=$!
	exec 9>"$work/keyboard"
	wait_for has_a_prompt
	# Whoever reads may be gone.
	(printf '%b' "$4" >&9) 2>/dev/null
	status=0
	wait $script || status=$?
	exec 9>&-
	gave "$2" "$3"
	seen "$1" "$status" "$what"
}

# check NAME COMMAND...: a check of the test's own. What it prints is the reason
# when it fails.
check() {
	check_name=$1
	shift
	if "$@" >"$work/out" 2>&1; then
		seen "$check_name" 0 pass
	else
		seen "$check_name" 1 "$(gist)"
	fi
}

# skip WHAT WHY
skip() {
	say "skip  $engine: $1: $2"
	skipped=$((skipped + 1))
}

# Seconds that what is awaited may take: on a loaded machine all is slow.
patience=30

# wait_for COMMAND...: until it succeeds.
wait_for() {
	wait_end=$(($(date +%s) + patience))
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt $wait_end ] || return 1
		sleep 0.05
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
