# containerd by ctr: ctr_sweep for any shim and runtime, and what is asked of a
# shim besides (shim_sweep). Sourced by run.
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
	# Its name is in the cgroups' paths, which other runs of this test share.
	namespace=$(basename "$work")
	ctr="ctr --address $work/containerd/c.sock --namespace $namespace"
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
	# type COMMAND...: types a line, and ends the input when it has come back.
	cat >"$work/bin/type" <<SCRIPT
#!/bin/sh
: >"$work/typed"
{
	echo typed
	until grep -q typed "$work/typed"; do sleep 0.05; done
} | "\$@" >"$work/typed" 2>&1
status=\$?
cat "$work/typed"
exit \$status
SCRIPT
	chmod 755 "$work/bin/type"
	containerd_up
	tasks=$work/containerd/state/io.containerd.runtime.v2.task/$namespace
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

ctr_tidy() {
	$ctr task rm -f wrong
	$ctr container rm wrong
	# ctr keeps the snapshot when the container could not be made.
	$ctr snapshot --snapshotter $snapshotter rm wrong
}

# What containerd, brig or the kernel still has of a container that failed.
ctr_left() {
	$ctr container ls -q
	$ctr task ls -q
	$ctr snapshot --snapshotter $snapshotter ls | grep -w '^wrong'
	nothing_left "$tasks" "$work/state.ctr.brig/$namespace" "$work/containerd/brig/$namespace"
	cgroups -path "*/$namespace/wrong*"
}

# spec UID [OF PROCESS [OF LINUX]]: a config.json for `ctr run --config`, with more
# properties of these objects.
spec() {
	cat >"$work/spec.json" <<JSON
{"ociVersion": "1.0.2", "root": {"path": "$work/rootfs"},
 "process": {"user": {"uid": $1, "gid": 0}, "args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"] $2},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
 "linux": {"cgroupsPath": "/$namespace/wrong", "namespaces": [{"type": "mount"}, {"type": "pid"}$3]}}
JSON
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
	tidy=ctr_tidy left=ctr_left
	: >"$work/left"
	op "run" 0 '^hi$' $run $image a$((n = n + 1)) echo hi
	is_a_measure || return 0
	op "run: exit code" 5 '' $run $image a$((n = n + 1)) sh -c 'exit 5'
	before=
	wrong="$ctr run $flags"
	wrong "run: missing program" 1 "$(line 'create failed: exec: "nosuch": executable file not found in \$PATH')" \
		$wrong $image wrong nosuch
	wrong "run: program not executable" 1 "$(line 'create failed: exec: "/etc/passwd": permission denied')" \
		$wrong $image wrong /etc/passwd
	wrong "run: missing mount source" 1 "$(line 'create failed: mounts.*/nosuch does not exist')" \
		$wrong --mount type=bind,src=/nosuch,dst=/v,options=rbind $image wrong true
	wrong "run: mount onto a file's name" 1 "$(line 'create failed: cannot open /etc/passwd/below: ENOTDIR .mounts')" \
		$wrong --mount type=tmpfs,src=tmpfs,dst=/etc/passwd/below $image wrong true
	wrong "run: missing device" 1 'no such file or directory' $wrong --device /dev/nosuch $image wrong true
	wrong "run: limit that the kernel refuses" 1 "$(line 'create failed: cannot set linux.resources.cpu.quota to 1.*: cpu.*EINVAL')" \
		$wrong --cpu-quota 1 --cpu-period 100000 $image wrong true
	spec 0 ', "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99999999, "hard": 99999999}]' ''
	wrong "run: limit that cannot be set" 1 "$(line 'create failed: cannot set process.rlimits.0. RLIMIT_NOFILE: EPERM')" \
		$wrong --config "$work/spec.json" wrong
	spec 5000 '' ', {"type": "user"}], "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
		"gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}'
	wrong "run: user that is not mapped" 1 "$(line 'create failed: cannot become process.user.uid 5000: EINVAL')" \
		$wrong --config "$work/spec.json" wrong
	spec 0 '' '], "devices": [{"path": "/etc/passwd/null", "type": "c", "major": 1, "minor": 3}'
	wrong "run: device that cannot be made" 1 "$(line 'create failed: cannot look at device /etc/passwd/null: ENOTDIR')" \
		$wrong --config "$work/spec.json" wrong
	[ "$runtime" != brig ] || check "nothing is left of these after rm" none_is_left
	# An end of input before ctr has its task is never told to the shim.
	op "run: standard input" 0 '^typed$' "$work/bin/type" $run $image a$((n = n + 1)) cat
	op "run: standard error" 0 '^complaint$' $run $image a$((n = n + 1)) sh -c 'echo complaint >&2'
	op "run: much output" 0 '^20000$' sh -c "$run $image a$((n = n + 1)) seq 20000 | wc -l"
	tty_op "run -t" 7 '/dev/pts/0' 'tty\nexit 7\n' "$run -t $image a$((n = n + 1)) sh"
	# ctr sets it once the program runs.
	tty_op "run -t: the terminal's size" 0 '^33 99$' 'until stty size | grep 33; do sleep 0.1; done\nexit\n' \
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
	op "exec: missing program" 1 "$(line 'exec: "nosuch": executable file not found in \$PATH')" \
		$ctr task exec --fifo-dir "$work/fifo" --exec-id x d nosuch
	op "exec: standard input" 0 '^typed$' "$work/bin/type" $ctr task exec --fifo-dir "$work/fifo" --exec-id x d cat
	tty_op "exec -t" 6 '/dev/pts/[01]' 'tty\nexit 6\n' "$ctr task exec --fifo-dir $work/fifo -t --exec-id x d sh"
	op "exec -d" 0 '' $ctr task exec --fifo-dir "$work/fifo" -d --exec-id bg d sleep 1002
	op "ps" 0 '^[0-9]+ ' $ctr task ps d
	op "ps: names the exec" 0 'bg' $ctr task ps d
	op "kill --exec-id" 0 '' $ctr task kill --exec-id bg -s KILL d
	op_until "delete --exec-id" 137 '' $ctr task delete --exec-id bg d
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
	op_until "kill: it stopped" 0 '^d +[0-9]+ +STOPPED' $ctr task ls
	op "kill of a stopped one" 1 'not found|already finished' $ctr task kill d
	op "delete: exit code" 0 'exit code 3' $ctr task delete d
	op "delete -f of a running one" 0 '' sh -c \
		"$ctr run -d $flags $image f$((n = n + 1)) sleep 1003 && { $ctr task delete -f f$n; $ctr container rm f$n; }"
	op "container rm" 0 '' $ctr container rm d
}

# listen: what containerd publishes from now on goes to a file.
listen() {
	: >"$work/events"
	$ctr events >"$work/events" 2>&1 &
	listener=$!
	# Events of ours, until the first has come.
	wait_for hears
}

hears() {
	$ctr image label $image probe=$((n = n + 1)) && grep -q /images/update "$work/events"
}

# heard TOPIC TEXT: whether it came, with the text in it.
heard() {
	grep "/tasks/$1 " "$work/events" | grep -q -e "$2"
}

# hear TOPIC TEXT: whether it comes.
hear() {
	wait_for heard "$1" "$2" || {
		kill $listener
		echo "no /tasks/$1 with $2 in: $(grep -o '/tasks/[a-z-]*' "$work/events" | tr '\n' ' ')"
		return 1
	}
}

# Every event that an engine can be told, each once for what caused it, and in
# this order.
events_come() {
	listen
	$ctr run -d $flags $image e sleep 1004
	$ctr task exec --fifo-dir "$work/fifo" --exec-id x e sh -c 'exit 6'
	$ctr task pause e
	$ctr task resume e
	$ctr task kill -s KILL e
	wait_for status_is e STOPPED
	$ctr task delete e
	$ctr container rm e
	hear create '"container_id":"e".*"pid":[1-9]' && hear start '"container_id":"e".*"pid":[1-9]' &&
		hear exec-added '"exec_id":"x"' && hear exec-started '"exec_id":"x".*"pid":[1-9]' &&
		hear exit '"id":"x".*"exit_status":6' && hear paused '"container_id":"e"' &&
		hear resumed '"container_id":"e"' && hear exit '"id":"e".*"exit_status":137' &&
		hear delete '"exit_status":137' || return 1
	kill $listener
	order=$(grep -o '/tasks/[a-z-]*' "$work/events" | cut -d/ -f3 | tr '\n' ' ')
	[ "$order" = "create start exec-added exec-started exit paused resumed exit delete " ] || {
		echo "events: $order"
		return 1
	}
}

oom_is_told() {
	listen
	# tail keeps the one endless line of its input in memory.
	timeout 60 $run --memory-limit 16777216 $image o$((n = n + 1)) sh -c 'tail /dev/zero; exit 0'
	hear oom "o$n" || return 1
	kill $listener
}

# ends ID: signals it, until it has set its trap, too.
ends() {
	$ctr task kill $1
	status_is $1 STOPPED
}

# The daemon is killed with containers running; the next one finds them, and
# what happened in between.
survives_restart() {
	restarted
	restart_status=$?
	for i in 1 2 3; do
		$ctr task rm -f r$i
		$ctr container rm r$i
	done >/dev/null 2>&1
	return $restart_status
}

restarted() {
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
	# containerd 2 deletes such a task by itself.
	if $ctr task ls -q | grep -qx r3; then
		wait_for status_is r3 STOPPED || {
			echo "r3 was killed, but: $($ctr task ls | tr '\n' ';')"
			return 1
		}
		$ctr task delete r3 2>&1 | grep -q 'exit code 137' || {
			echo "the exit code of r3 is lost"
			return 1
		}
	fi
	test "$($ctr task exec --fifo-dir "$work/fifo" --exec-id x r1 echo there)" = there || {
		echo "no exec after the restart"
		return 1
	}
	wait_for ends r1 && wait_for ends r2 || {
		echo "no end after kill: $($ctr task ls | tr '\n' ';')"
		return 1
	}
	for i in 1 2; do
		$ctr task delete r$i 2>&1 | grep -q 'exit code 4' || {
			echo "the exit code of r$i is wrong"
			return 1
		}
	done
}

fifty_at_once() {
	for i in $(seq 50); do
		(timeout 200 $run $image p$i sh -c "sleep 0.2; exit $i" >"$work/parallel.$i" 2>&1; echo $? >"$work/status.$i") &
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
	all=$(awk '/^VmRSS:/ { print $2 }' "/proc/$one/status")
	echo "threads $threads, resident $all KiB, of it private $memory KiB" >"$work/shim.size"
	[ "$runtime" != brig ] || { [ "$threads" -le 2 ] && [ "$memory" -le 4096 ]; } || {
		cat "$work/shim.size"
		return 1
	}
	$ctr task delete -f member
	status_is sandbox RUNNING || {
		echo "the sandbox went with the member"
		return 1
	}
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
		grep -q "^l $namespace key value\$" "$work/logger.env" || {
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
		tr '\000' ' ' <"$process/cmdline" 2>/dev/null | grep -F "containerd-shim-$1" | grep -F "$work/containerd/"
	done
}

no_shims() {
	test -z "$(shims "$1")"
}

# no_shim_is_left KIND DIRECTORY...: nor a task, nor what brig keeps of one.
no_shim_is_left() {
	kind=$1
	shift
	wait_for no_shims "$kind" || {
		echo "a shim is left: $(shims "$kind" | head -n 1)"
		return 1
	}
	nothing_left "$tasks" "$@" || return 1
	test -z "$($ctr container ls -q)" || {
		echo "containers are left: $($ctr container ls -q | tr '\n' ' ')"
		return 1
	}
	test -z "$(cgroups -path "*/$namespace/*")" || {
		echo "cgroups are left: $(cgroups -path "*/$namespace/*" | head -n 3 | tr '\n' ' ')"
		return 1
	}
}

# The subcommands by themselves. -info is not asked of the shims before 1.7.
shim_tells_what_it_is() {
	"$work/real/containerd-shim-$1" -v | grep -q . || return 1
	[ "$runtime" = brig ] || return 0
	"$work/real/containerd-shim-$1" -info </dev/null | tr -cd ' -~' | grep -q 'io.containerd.brig.v1.*"ociVersionMin"' || {
		echo "-info: $("$work/real/containerd-shim-$1" -info </dev/null 2>&1 | tr -dc ' -~' | cut -c1-100)"
		return 1
	}
	! "$work/real/containerd-shim-$1" -namespace x -id y dance 2>"$work/said" && grep -q 'use start or delete' "$work/said" || {
		cat "$work/said"
		return 1
	}
}

# race FLAGS FLAGS: two shims by turns, ten times, so that both have the same
# machine; the milliseconds of each from run to rm.
race() {
	: >"$work/race"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		for racer in "$1" "$2"; do
			from=$(date +%s%N)
			$ctr run --rm --snapshotter $snapshotter --fifo-dir "$work/fifo" $racer $image t$((n = n + 1)) true || return 1
			echo "$racer $((($(date +%s%N) - from) / 1000000))" >>"$work/race"
		done
	done
}

# mean FLAGS: of a racer.
mean() {
	awk -v racer="$1 " 'index($0, racer) == 1 { all += $NF; n++ } END { printf "%d", n ? all / n : 0 }' "$work/race"
}

# shim_sweep FLAGS KIND: what is asked of a shim besides.
shim_sweep() {
	flags="--snapshotter $snapshotter --fifo-dir $work/fifo $1"
	run="$ctr run --rm $flags"
	check "events are published" events_come
	check "out of memory is published" oom_is_told
	check "daemon killed and restarted" survives_restart
	check "50 containers in parallel" fifty_at_once
	check "a pod shares a shim" pod_shares_a_shim
	check "shim killed" killed_shim_leaves_nothing
	check "log to file://" logs_to_a_file
	check "log to binary://" logs_to_a_program
	[ "$runtime" != brig ] || check "-v, -info and a wrong action" shim_tells_what_it_is "$2"
	say "      containerd-shim-$2 with two containers: $(cat "$work/shim.size")"
}
