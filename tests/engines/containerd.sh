# containerd by ctr: with the stock runc shim (ctr_sweep), and what is asked of
# brig's own shim besides (shim_sweep). Sourced by run.
# shellcheck shell=sh disable=SC2016,SC2034,SC2086,SC2154

containerd_pid=

# containerd_up: starts the daemon, again after it was killed.
containerd_up() {
	# A session of its own, as a service manager would give it: shims outlive it.
	setsid containerd --config "$work/containerd.toml" --log-level info >>"$work/containerd.log" 2>&1 &
	containerd_pid=$!
	wait_for $ctr version || die "containerd does not answer: $(tail -n 3 "$work/containerd.log")"
}

containerd_down() {
	[ -n "$containerd_pid" ] || return 0
	for id in $($ctr task ls -q 2>/dev/null); do
		timeout 10 $ctr task rm -f "$id" >/dev/null 2>&1
	done
	kill "$containerd_pid" 2>/dev/null
	wait "$containerd_pid" 2>/dev/null
	containerd_pid=
}

# An image of one layer, as `docker save` writes them.
make_image() {
	mkdir -p "$work/image/layer"
	tar -C "$work/rootfs" -cf "$work/image/layer/layer.tar" .
	diff_id=$(sha256sum "$work/image/layer/layer.tar" | cut -d' ' -f1)
	cat >"$work/image/config.json" <<JSON
{"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$diff_id"]}}
JSON
	[ "$(uname -m)" != aarch64 ] || sed -i s/amd64/arm64/ "$work/image/config.json"
	cat >"$work/image/manifest.json" <<JSON
[{"Config": "config.json", "RepoTags": ["localhost/small:latest"], "Layers": ["layer/layer.tar"]}]
JSON
	tar -C "$work/image" -cf "$work/image.tar" manifest.json config.json layer/layer.tar
}

containerd_setup() {
	cat >"$work/containerd.toml" <<TOML
version = 2
root = "$work/containerd/root"
state = "$work/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
address = "$work/containerd/c.sock"

[ttrpc]
address = "$work/containerd/c.sock.ttrpc"
TOML
	ctr="ctr --address $work/containerd/c.sock --namespace brig-test"
	image=localhost/small:latest
	# The stock shim makes its pipes there, and a machine may have none.
	mkdir -p "$work/containerd" "$work/fifo"
	make_image
	# memory-limit CTR... ID: what the kernel holds the task to.
	cat >"$work/bin/memory-limit" <<'SCRIPT'
#!/bin/sh
for id; do :; done
case $1 in ctr) shift ;; esac
pid=$(ctr "$1" "$2" "$3" "$4" task ls | awk -v id="$id" '$1 == id { print $2 }')
first=$(sed -n 's/^[0-9]*:\([^:]*,\)\{0,1\}memory\(,[^:]*\)\{0,1\}://p' "/proc/$pid/cgroup")
second=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
cat "/sys/fs/cgroup/memory$first/memory.limit_in_bytes" 2>/dev/null || cat "/sys/fs/cgroup$second/memory.max"
SCRIPT
	chmod 755 "$work/bin/memory-limit"
	containerd_up
	# overlayfs cannot lie on an overlay, which a build machine's root may be.
	snapshotter=native
	for name in overlayfs native; do
		if $ctr image import --snapshotter $name "$work/image.tar" >"$work/out" 2>&1 &&
			$ctr run --rm --snapshotter $name --runtime io.containerd.runc.v2 \
				--fifo-dir "$work/fifo" $image probe /bin/true >>"$work/out" 2>&1; then
			snapshotter=$name
			break
		fi
	done
	$ctr image ls -q | grep -q $image || die "ctr cannot import the image: $(cat "$work/out")"
	$ctr container rm probe >/dev/null 2>&1
	$ctr snapshot --snapshotter overlayfs rm probe >/dev/null 2>&1
	say "containerd: snapshotter $snapshotter"
}

# status_is ID STATUS
status_is() {
	test "$($ctr task ls | awk -v id="$1" '$1 == id { print $3 }')" = "$2"
}

# ctr_sweep FLAGS: the flags choose the shim and the runtime.
# $ctr and the flags are lists of words.
ctr_sweep() {
	flags="--snapshotter $snapshotter --fifo-dir $work/fifo $1"
	run="$ctr run --rm $flags"
	# ctr keeps the snapshot of a container that could not be created.
	n=${n:-0}
	op "run" 0 '^hi$' $run $image a$((n = n + 1)) echo hi
	is_a_measure || return 0
	op "run: exit code" 5 '' $run $image a$((n = n + 1)) sh -c 'exit 5'
	op "run: missing program" 1 'executable file not found in \$PATH' $run $image a$((n = n + 1)) nosuch
	op "run: program not executable" 1 'permission denied' $run $image a$((n = n + 1)) /etc/passwd
	op "run: missing mount source" 1 'no such file or directory|does not exist' \
		$run --mount type=bind,src=/nosuch,dst=/v,options=rbind $image a$((n = n + 1)) true
	# An end of input before ctr has its task is never told to the shim.
	limit=15
	op "run: standard input" 0 '^typed$' sh -c "{ echo typed; sleep 1; } | $run $image a$((n = n + 1)) cat"
	limit=
	op "run: standard error" 0 '^complaint$' $run $image a$((n = n + 1)) sh -c 'echo complaint >&2'
	op "run: much output" 0 '^20000$' sh -c "$run $image a$((n = n + 1)) seq 20000 | wc -l"
	tty_op "run -t" 7 '/dev/pts/0' 'tty\nexit 7\n' "$run -t $image a$((n = n + 1)) sh"
	tty_op "run -t: the terminal's size" 0 '^33 99$' 'stty size\nexit\n' \
		"stty rows 33 cols 99; $run -t $image a$((n = n + 1)) sh"
	op "run --mount" 0 'from the host' $run --mount "type=bind,src=$work/volume,dst=/v,options=rbind:ro" $image a$((n = n + 1)) cat /v/file
	op "run --read-only" 1 'Read-only file system' $run --read-only $image a$((n = n + 1)) touch /x
	op "run --net-host" 0 "^$(readlink /proc/self/ns/net | tr -dc '0-9')\$" \
		$run --net-host $image a$((n = n + 1)) sh -c 'readlink /proc/self/ns/net | tr -dc 0-9; echo'
	op "run --seccomp" 0 'Seccomp:[[:space:]]2' $run --seccomp $image a$((n = n + 1)) grep Seccomp: /proc/self/status
	op "run --cwd --env" 0 '^/tmp v$' $run --cwd /tmp --env K=v $image a$((n = n + 1)) sh -c 'echo $(pwd) $K'

	op "run -d" 0 '' $ctr run -d --memory-limit 67108864 $flags $image d sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'
	op "run --memory-limit" 0 '^67108864$' "$work/bin/memory-limit" $ctr d
	op "task ls" 0 '^d +[0-9]+ +RUNNING' $ctr task ls
	op "exec" 0 '^inside$' $ctr task exec --fifo-dir "$work/fifo" --exec-id x d echo inside
	op "exec: exit code" 9 '' $ctr task exec --fifo-dir "$work/fifo" --exec-id x d sh -c 'exit 9'
	op "exec: killed by a signal" 137 '' $ctr task exec --fifo-dir "$work/fifo" --exec-id x d sh -c 'kill -9 $$'
	op "exec: missing program" 1 'executable file not found in \$PATH' \
		$ctr task exec --fifo-dir "$work/fifo" --exec-id x d nosuch
	op "exec: standard input" 0 '^typed$' sh -c "echo typed | $ctr task exec --fifo-dir $work/fifo --exec-id x d cat"
	tty_op "exec -t" 6 '/dev/pts/[01]' 'tty\nexit 6\n' "$ctr task exec --fifo-dir $work/fifo -t --exec-id x d sh"
	op "exec -d" 0 '' $ctr task exec --fifo-dir "$work/fifo" -d --exec-id bg d sleep 1002
	op "ps" 0 '^[0-9]+ ' $ctr task ps d
	op "ps: names the exec" 0 'bg' $ctr task ps d
	op "kill --exec-id" 0 '' $ctr task kill --exec-id bg -s KILL d
	op "delete --exec-id" 137 '' sh -c "sleep 0.3; $ctr task delete --exec-id bg d"
	op "pause" 0 '' $ctr task pause d
	op "pause: it is paused" 0 '^d +[0-9]+ +PAUSED' $ctr task ls
	op "resume" 0 '' $ctr task resume d
	op "resume: it runs" 0 '^d +[0-9]+ +RUNNING' $ctr task ls
	op "metrics" 0 '^(memory.usage_in_bytes|memory.usage) +[1-9]' $ctr task metrics d
	op "metrics: processes" 0 '^(pids.current) +[1-9]' $ctr task metrics d
	op "checkpoint is refused" 1 'criu|checkpoint' $ctr task checkpoint --image-path "$work/checkpoint" d
	op "checkpoint: it still runs" 0 '^d +[0-9]+ +RUNNING' $ctr task ls
	op "delete of a running one is refused" 1 'running|not stopped|must be stopped' $ctr task delete d
	op "kill" 0 '' $ctr task kill d
	op "kill: it stopped" 0 '^d +[0-9]+ +STOPPED' sh -c \
		"for i in 1 2 3 4 5 6 7 8 9; do $ctr task ls | grep STOPPED && exit; sleep 0.2; done"
	op "kill of a stopped one" 1 'not found|already finished' $ctr task kill d
	op "delete: exit code" 0 'exit code 3' $ctr task delete d
	op "delete -f of a running one" 0 '' sh -c \
		"$ctr run -d $flags $image f$((n = n + 1)) sleep 1003 && { $ctr task delete -f f$n; $ctr container rm f$n; }"
	op "container rm" 0 '' $ctr container rm d
}

# Topics that `ctr events` prints for container "e".
events_come() {
	$ctr events >"$work/events" 2>&1 &
	listener=$!
	sleep 0.5
	$ctr run -d $flags $image e sleep 1004
	$ctr task exec --fifo-dir "$work/fifo" --exec-id x e true
	$ctr task pause e
	$ctr task resume e
	$ctr task kill -s KILL e
	wait_for status_is e STOPPED
	$ctr task delete e
	$ctr container rm e
	sleep 0.5
	kill $listener
	for topic in create start exec-added exec-started exit paused resumed delete; do
		grep -q "/tasks/$topic" "$work/events" || {
			echo "no /tasks/$topic in: $(grep -o '/tasks/[a-z-]*' "$work/events" | tr '\n' ' ')"
			return 1
		}
	done
}

oom_is_told() {
	$ctr events >"$work/events" 2>&1 &
	listener=$!
	sleep 0.5
	# tail keeps the one endless line of its input in memory.
	timeout 30 $run --memory-limit 16777216 $image o$((n = n + 1)) sh -c 'tail /dev/zero; sleep 0.5; exit 0'
	sleep 0.5
	kill $listener
	grep -q "/tasks/oom" "$work/events" || {
		echo "no /tasks/oom in: $(grep -o '/tasks/[a-z-]*' "$work/events" | tr '\n' ' ')"
		return 1
	}
}

# The daemon is killed with containers running; the next one finds them, and
# what happened in between.
survives_restart() {
	for i in 1 2 3; do
		$ctr run -d $flags $image r$i sh -c 'trap "exit 4" TERM; while :; do sleep 0.1; done' || return 1
	done
	victim=$($ctr task ls | awk '$1 == "r3" { print $2 }')
	kill -9 "$containerd_pid"
	wait "$containerd_pid" 2>/dev/null
	# r3 ends while nobody listens.
	kill -9 "$victim"
	containerd_up
	status_is r1 RUNNING && status_is r2 RUNNING || {
		echo "after the restart: $($ctr task ls | tr '\n' ';')"
		return 1
	}
	wait_for status_is r3 STOPPED || {
		echo "r3 was killed, but: $($ctr task ls | tr '\n' ';')"
		return 1
	}
	$ctr task delete r3 2>&1 | grep -q 'exit code 137' || {
		echo "the exit code of r3 is lost"
		return 1
	}
	test "$($ctr task exec --fifo-dir "$work/fifo" --exec-id x r1 echo there)" = there || {
		echo "no exec after the restart"
		return 1
	}
	$ctr task kill r1 && $ctr task kill r2 || return 1
	wait_for status_is r1 STOPPED && wait_for status_is r2 STOPPED || return 1
	for i in 1 2; do
		$ctr task delete r$i 2>&1 | grep -q 'exit code 4' || {
			echo "the exit code of r$i is wrong"
			return 1
		}
	done
	$ctr container rm r1 r2 r3
}

fifty_at_once() {
	for i in $(seq 50); do
		(timeout 120 $run $image p$i sh -c "sleep 0.2; exit $i" >"$work/parallel.$i" 2>&1; echo $? >"$work/status.$i") &
		jobs_of_fifty="${jobs_of_fifty:-} $!"
	done
	wait $jobs_of_fifty
	for i in $(seq 50); do
		test "$(cat "$work/status.$i")" = $i || {
			echo "number $i ended with $(cat "$work/status.$i"): $(cat "$work/parallel.$i")"
			return 1
		}
	done
}

shim_of() {
	task=$($ctr task ls | awk -v id="$1" '$1 == id { print $2 }')
	awk '/^PPid:/ { print $2 }' "/proc/$task/status"
}

# Containers of one pod share a shim; the shim goes with the last.
pod_shares_a_shim() {
	for id in sandbox member; do
		$ctr run -d --annotation io.kubernetes.cri.sandbox-id=sandbox $flags $image $id sleep 1005 || return 1
	done
	$ctr run -d $flags $image loner sleep 1005 || return 1
	one=$(shim_of sandbox) two=$(shim_of member) other=$(shim_of loner)
	[ "$one" = "$two" ] && [ "$one" != "$other" ] || {
		echo "shims: sandbox $one, member $two, loner $other"
		return 1
	}
	threads=$(awk '/^Threads:/ { print $2 }' "/proc/$one/status")
	memory=$(awk '/^RssAnon:/ { print $2 }' "/proc/$one/status")
	echo "threads $threads, private memory $memory KiB" >"$work/shim.size"
	[ "$threads" -le 2 ] && [ "$memory" -le 4096 ] || {
		cat "$work/shim.size"
		return 1
	}
	$ctr task delete -f member
	status_is sandbox RUNNING || return 1
	$ctr task delete -f sandbox
	$ctr task delete -f loner
	$ctr container rm sandbox member loner
	wait_for test ! -e "/proc/$one"
}

# A shim that was killed: the container is killed and cleaned up by `delete`.
killed_shim_leaves_nothing() {
	$ctr run -d $flags $image k sleep 1006 || return 1
	task=$($ctr task ls | awk '$1 == "k" { print $2 }')
	kill -9 "$(shim_of k)"
	wait_for sh -c "! kill -0 $task" || {
		echo "the container outlives its shim"
		return 1
	}
	wait_for sh -c "! $ctr task ls -q | grep -qx k" || {
		echo "the task is still listed"
		return 1
	}
	$ctr container rm k
}

logs_to_a_file() {
	$ctr run -d --log-uri "file://$work/logs/out.log" $flags $image l sh -c 'echo to out; echo to err >&2' || return 1
	wait_for grep -q 'to err' "$work/logs/out.log" && grep -q 'to out' "$work/logs/out.log" || {
		echo "log: $(cat "$work/logs/out.log")"
		return 1
	}
	wait_for status_is l STOPPED
	$ctr task delete l
	$ctr container rm l
}

logs_to_a_program() {
	cat >"$work/real/logger.sh" <<LOGGER
#!/bin/sh
# 3 and 4 are the container's output and errors; closing 5 says "ready".
exec 5>&-
echo "\$CONTAINER_ID \$CONTAINER_NAMESPACE \$*" >"$work/logger.env"
cat <&4 >"$work/logger.err" &
cat <&3 >"$work/logger.out"
wait
LOGGER
	chmod 755 "$work/real/logger.sh"
	$ctr run -d --log-uri "binary://$work/real/logger.sh?key=value" $flags $image l sh -c 'echo to out; echo to err >&2' ||
		return 1
	wait_for grep -q 'to out' "$work/logger.out" && wait_for grep -q 'to err' "$work/logger.err" &&
		grep -q '^l brig-test key value$' "$work/logger.env" || {
		echo "logger: $(cat "$work/logger.env" "$work/logger.out" "$work/logger.err")"
		return 1
	}
	wait_for status_is l STOPPED
	$ctr task delete l
	$ctr container rm l
}

# Shims of this test, by the address in their arguments.
shims() {
	for process in /proc/[0-9]*; do
		tr '\000' ' ' <"$process/cmdline" 2>/dev/null | grep -F containerd-shim-brig-v1 | grep -F "$work/containerd/"
	done
}

no_shims() {
	test -z "$(shims)"
}

no_shim_is_left() {
	wait_for no_shims || {
		echo "a shim is left: $(shims | head -n 1)"
		return 1
	}
	nothing_left "$work/containerd/s" "$work/containerd/state/io.containerd.runtime.v2.task/brig-test" \
		"$work/containerd/brig/brig-test"
}

shim_sweep() {
	check "events are published" events_come
	check "out of memory is published" oom_is_told
	check "daemon killed and restarted" survives_restart
	check "50 containers in parallel" fifty_at_once
	check "a pod shares a shim" pod_shares_a_shim
	[ ! -s "$work/shim.size" ] || say "      shim of two containers: $(cat "$work/shim.size")"
	check "shim killed" killed_shim_leaves_nothing
	check "log to file://" logs_to_a_file
	check "log to binary://" logs_to_a_program
	check "nothing is left" no_shim_is_left
}
