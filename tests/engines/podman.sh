# podman with conmon. Sourced by run.
# shellcheck shell=sh disable=SC2016,SC2034,SC2086,SC2154

engine=podman

podman_setup() {
	mkdir -p "$work/podman"
	cat >"$work/containers.conf" <<CONF
[containers]
# The machine may forbid raising limits; these are below any default.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"

[network]
network_config_dir = "$work/podman/networks"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "$work/podman/tmp"
runtime_supports_json = ["brig", "runc", "crun"]

[engine.runtimes]
brig = ["$brig"]
CONF
	# Else podman knows where crun is.
	[ ! -e "$work/measure/crun" ] || echo "crun = [\"$work/measure/crun\"]" >>"$work/containers.conf"
	cat >"$work/storage.conf" <<CONF
[storage]
driver = "vfs"
graphroot = "$work/podman/root"
runroot = "$work/podman/run"
CONF
	export CONTAINERS_CONF="$work/containers.conf" CONTAINERS_STORAGE_CONF="$work/storage.conf"
	tar -C "$work/rootfs" -cf "$work/rootfs.tar" .
	podman import -q --change 'CMD ["/bin/sh"]' "$work/rootfs.tar" localhost/small >"$work/out" 2>&1 ||
		die "podman cannot import the image: $(cat "$work/out")"
}

podman_tidy() {
	id=$($podman ps -aq --no-trunc --filter name=wrong)
	$podman rm -f -t 0 wrong
}

# What podman, brig or the kernel still has of that container.
podman_left() {
	$podman ps -a --format '{{.Names}} {{.Status}}' --filter name=wrong
	nothing_left "$state"
	[ -z "$id" ] || cgroups -name "*$id*"
}

podman_sweep() {
	podman="podman --runtime $runtime"
	image=localhost/small
	run="$podman run --rm --network none"
	tidy=podman_tidy left=podman_left
	: >"$work/left"
	# $podman and $run are lists of words.
	{
		op "info names the runtime" 0 "^$runtime $runtime version" \
			$podman info --format '{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Version}}'
		op "run" 0 '^hi$' $run $image echo hi
		is_a_measure || return 0
		op "run: exit code" 5 '' $run $image sh -c 'exit 5'
		# podman finds some of it out by itself; the rest is brig's line.
		wrong="$podman run --name wrong --network none"
		wrong "run: missing program" 127 "$(line 'exec: "nosuch": executable file not found in \$PATH')" $wrong $image nosuch
		wrong "run: program not executable" 126 "$(line 'exec: "/etc/passwd": permission denied')" $wrong $image /etc/passwd
		wrong "run: missing working directory" 126 'does not exist' $wrong --workdir /no/dir $image true
		wrong "run: working directory is a file" 126 'is not a directory' \
			$wrong --workdir /etc/passwd $image true
		wrong "run: unknown user" 126 'no matching entries in passwd file|unable to find user' \
			$wrong --user nobodyatall $image true
		wrong "run: user that is not mapped" 126 'map UID 5000' $wrong --uidmap 0:100000:1000 --user 5000 $image true
		wrong "run: missing volume source" 125 'no such file or directory' $wrong -v "$work/nosuch:/v" $image true
		wrong "run: mount onto a file's name" 126 "$(line 'cannot open /etc/passwd/below: ENOTDIR .mounts')" \
			$wrong --mount type=tmpfs,destination=/etc/passwd/below $image true
		wrong "run: missing device" 125 'no such file or directory|stat /dev/nosuch' \
			$wrong --device /dev/nosuch $image true
		wrong "run: device that cannot be made" 126 "$(line 'cannot look at device /etc/passwd/null: ENOTDIR')" \
			$wrong --device /dev/null:/etc/passwd/null $image true
		wrong "run: limit that cannot be set" 126 "$(line 'cannot set process.rlimits.0. RLIMIT_NOFILE: EPERM')" \
			$wrong --ulimit nproc=1000:1000 --ulimit nofile=99999999:99999999 $image true
		[ "$runtime" != brig ] || check "nothing is left of these after rm -f" none_is_left
		tty_op "run -it" 7 '/dev/pts/0' 'tty\nexit 7\n' "$run -it $image sh"
		tty_op "run: the terminal is the user's" 0 '^1000$' 'stat -c %u $(tty)\nexit\n' "$run -it --user 1000 $image sh"
		op "run --init" 0 'podman-init|catatonit' $run --init $image cat /proc/1/comm
		op "run --read-only" 1 'Read-only file system' $run --read-only $image touch /x
		op "run --tmpfs" 0 'tmpfs on /mnt .*size=1024k' $run --tmpfs /mnt:size=1m $image mount
		op "run --volume" 0 'from the host' $run -v "$work/volume:/v:ro" $image cat /v/file
		op "run --volume: read-only" 1 'Read-only file system' $run -v "$work/volume:/v:ro" $image touch /v/x
		op "run --user" 0 'uid=1000.* gid=1001' $run --user 1000:1001 $image id
		op "run --workdir" 0 '^/tmp$' $run --workdir /tmp $image pwd
		op "run --ulimit" 0 '^100 200$' $run --ulimit nofile=100:200 --ulimit nproc=1000:1000 $image \
			sh -c 'echo $(ulimit -n) $(ulimit -Hn)'
		op "run --memory" 0 '^67108864$' $run --memory 64m $image \
			sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null | head -n 1'
		op "run --pids-limit" 0 '^33$' $run --pids-limit 33 $image \
			sh -c 'cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null | head -n 1'
		op "run --cpus" 0 '^50000' $run --cpus 0.5 $image \
			sh -c 'cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null | head -n 1'
		op "run --cap-drop" 0 'CapEff:[[:space:]]0000000000000000' $run --cap-drop all $image grep CapEff /proc/self/status
		op "run --cap-add" 0 'CapEff:[[:space:]]0000000000000400' \
			$run --cap-drop all --cap-add net_bind_service $image grep CapEff /proc/self/status
		op "run --security-opt no-new-privileges" 0 'NoNewPrivs:[[:space:]]1' \
			$run --security-opt no-new-privileges $image grep NoNewPrivs /proc/self/status
		op "run --security-opt seccomp" 0 'Seccomp:[[:space:]]0' \
			$run --security-opt seccomp=unconfined $image grep Seccomp: /proc/self/status
		op "run: seccomp is on" 0 'Seccomp:[[:space:]]2' $run $image grep Seccomp: /proc/self/status
		op "run --device" 0 '^crw.* /dev/loop-control$' \
			$run --device /dev/null:/dev/loop-control $image ls -l /dev/loop-control
		op "run --privileged" 0 'Seccomp:[[:space:]]0' $run --privileged $image grep Seccomp: /proc/self/status
		op "run --hostname" 0 '^harbour$' $run --hostname harbour $image hostname
		op "run --network none" 0 '^ *lo:' $run $image cat /proc/net/dev
		op "run --network host" 0 "^$(readlink /proc/self/ns/net | tr -d '[]:' | tr -dc '0-9')\$" \
			$podman run --rm --network host $image sh -c 'readlink /proc/self/ns/net | tr -dc 0-9; echo'
		op "run --pid host" 0 "^$(readlink /proc/self/ns/pid | tr -dc '0-9')\$" \
			$run --pid host $image sh -c 'readlink /proc/self/ns/pid | tr -dc 0-9; echo'
		op "run --sysctl" 0 '^9000$' $run --sysctl kernel.msgmax=9000 $image cat /proc/sys/kernel/msgmax
		op "run --uidmap" 0 '^ *0 +100000 +1000$' $run --uidmap 0:100000:1000 $image cat /proc/self/uid_map

		op "run -d" 0 '^[0-9a-f]{64}$' $podman run -d --name one --network none $image \
			sh -c 'trap "exit 3" TERM; trap "echo signalled" USR1; echo started; while :; do sleep 0.1; done'
		op_until "logs" 0 '^started$' $podman logs one
		op "exec" 0 '^inside$' $podman exec one echo inside
		op "exec: exit code" 9 '' $podman exec one sh -c 'exit 9'
		op "exec: missing program" 127 "$(line 'exec: "nosuch": executable file not found in \$PATH')" $podman exec one nosuch
		op "exec: program not executable" 126 "$(line 'exec: "/etc/passwd": permission denied')" $podman exec one /etc/passwd
		op "exec --user --workdir --env" 0 '^65534 /tmp v$' \
			$podman exec -u nobody -w /tmp -e K=v one sh -c 'echo $(id -u) $(pwd) $K'
		op "exec -d" 0 '' $podman exec -d one touch /made
		op_until "exec -d: it ran" 0 '^/made$' $podman exec one ls /made
		tty_op "exec -it" 6 '/dev/pts/[01]' 'tty\nexit 6\n' "$podman exec -it one sh"
		op "top" 0 '^1 +sh$' $podman top one pid comm
		op "stats" 0 '^one [1-9]' $podman stats --no-stream --format '{{.Name}} {{.PIDs}}' one
		op "update" 0 '^[0-9a-f]{64}$' $podman update --memory 100m --cpus 0.7 one
		op "update: it holds" 0 '^104857600 70000$' $podman exec one sh -c \
			'echo $(cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null | head -n 1) $(cut -d " " -f 1 /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null | head -n 1)'
		op "pause" 0 '^one$' $podman pause one
		op "pause: it is paused" 0 '^paused$' $podman inspect --format '{{.State.Status}}' one
		op "pause: exec is refused" 255 'paused|running' $podman exec one true
		op "unpause" 0 '^one$' $podman unpause one
		op "restart" 0 '^one$' $podman restart -t 5 one
		# Only then does it have its traps.
		op_until "restart: it runs" 0 '^2$' sh -c "$podman logs one | grep -c started"
		op "kill" 0 '^one$' $podman kill -s USR1 one
		op_until "kill: the program sees it" 0 '^signalled$' $podman logs one
		op "stop" 0 '^one$' $podman stop -t 5 one
		op "stop: the program's exit code" 0 '^exited 3$' \
			$podman inspect --format '{{.State.Status}} {{.State.ExitCode}}' one
		op "start" 0 '^one$' $podman start one
		op "kill -s KILL" 0 '^one$' $podman kill -s KILL one
		op "wait" 0 '^137$' $podman wait one
		op "rm -f of a stopped one" 0 '' $podman rm -f one
		op "rm -f of a running one" 0 '' sh -c \
			"$podman run -d --name two --network none $image sleep 1000 && $podman rm -f -t 0 two"

		op "healthcheck" 0 '' sh -c "$podman run -d --name well --network none --health-cmd 'test -e /etc/passwd' \
			--health-interval disable $image sleep 1000 && $podman healthcheck run well"
		op "healthcheck: unhealthy" 1 '' sh -c "$podman run -d --name ill --network none --health-cmd 'test -e /nosuch' \
			--health-interval disable $image sleep 1000 >/dev/null && $podman healthcheck run ill"
		op "healthcheck: rm -f" 0 '' $podman rm -f -t 0 well ill

		op "pod create" 0 '^[0-9a-f]{64}$' $podman pod create --name crew --network none \
			--infra-command '/bin/sleep 1000' --infra-image $image --share pid,ipc,net,uts
		op "pod: run in it" 0 '^[0-9a-f]{64}$' $podman run -d --pod crew --name mate $image sleep 1001
		op "pod: a second one sees the first" 0 'sleep 1001' $podman run --rm --pod crew $image ps
		op "pod: exec" 0 '^aboard$' $podman exec mate echo aboard
		op "pod stop" 0 '' $podman pod stop -t 0 crew
		op "pod rm -f" 0 '' $podman pod rm -f -t 0 crew
		op "checkpoint is refused" 125 'checkpoint|CRIU' sh -c \
			"$podman run -d --name still --network none $image sleep 1000 >/dev/null; $podman container checkpoint still"
		op "rm -f of all" 0 '' $podman rm -fa -t 0
		op "ps -a: none is left" 0 '^$' sh -c "$podman ps -aq; echo"
	}
	[ "$runtime" != brig ] || check "nothing is left" nothing_left "$state"
}
