# buildah --isolation oci. Sourced by run, after podman_setup.
# shellcheck shell=sh disable=SC2016,SC2034,SC2086,SC2154

engine=buildah

buildah_tidy() {
	buildah rm wrong
}

# What buildah, brig or the kernel still has of a run that failed.
buildah_left() {
	buildah containers --format '{{.ContainerName}}' | grep -x wrong
	nothing_left "$state"
	for id in $(grep '^buildah-' "$work/ids" | sort -u); do
		cgroups -name "*$id*"
	done
}

# wrong_run NAME STATUS PATTERN [FLAG OF from]... -- WORD...: `buildah run`, with
# these words, of a container that `buildah from` made with the flags.
wrong_run() {
	wrong_name=$1 wrong_status=$2 wrong_pattern=$3 from=
	shift 3
	while [ "$1" != -- ]; do
		from="$from $1"
		shift
	done
	shift
	wrong "$wrong_name" $wrong_status "$wrong_pattern" \
		sh -c "buildah from --pull-never --name wrong $from localhost/small && $run $*"
}

buildah_sweep() {
	export BUILDAH_ISOLATION=oci
	case $runtime in
	brig) program=$brig ;;
	*) program=$(command -v "$runtime") ;;
	esac
	file="$work/Containerfile"
	mkdir -p "$work/context"
	echo copied >"$work/context/file"
	cat >"$file" <<'FILE'
FROM localhost/small
COPY file /copied
RUN echo one >/one && cat /copied
RUN test "$(cat /one)" = one
USER 1000:1001
RUN test "$(id -u) $(id -g)" = "1000 1001"
WORKDIR /tmp/deep
USER 0
RUN test "$(pwd)" = /tmp/deep && touch here
VOLUME /data
RUN --mount=type=tmpfs,target=/space mount | grep -q " /space "
RUN ls /tmp/deep /one
FILE
	buildah from --name scratch-$runtime scratch >"$work/out" 2>&1 || die "buildah from scratch: $(cat "$work/out")"
	flags="--runtime $program --isolation oci"
	run="buildah run $flags"
	build="buildah build $flags"
	box=scratch-$runtime
	tidy=buildah_tidy left=buildah_left
	: >"$work/left"
	{
		op "from scratch, copy" 0 '^[0-9a-f]{64}$' buildah copy $box "$work/rootfs" /
		op "run" 0 '^in a box$' $run $box -- echo in a box
		is_a_measure || return 0
		op "run: exit code" 4 '' $run $box -- sh -c 'exit 4'
		# buildah finds some of it out by itself; the rest is brig's line.
		wrong_run "run: missing program" 1 "$(line 'exec: "nosuch": executable file not found in \$PATH')" -- wrong nosuch
		wrong_run "run: program not executable" 1 "$(line 'exec: "/etc/passwd": permission denied')" -- wrong /etc/passwd
		wrong_run "run: working directory is a file" 1 "$(line 'cannot enter process.cwd /etc/passwd: ENOTDIR')" \
			-- --workingdir /etc/passwd wrong true
		wrong_run "run: unknown user" 125 'unknown user' -- --user nobodyatall wrong true
		wrong_run "run: missing volume source" 125 'no such file or directory' -- -v "$work/nosuch:/v" wrong true
		wrong_run "run: mount onto a file's name" 1 "$(line 'cannot open /etc/passwd/below: ENOTDIR .mounts')" \
			-- --mount type=tmpfs,target=/etc/passwd/below wrong true
		wrong_run "run: missing device" 125 'no such file or directory' --device /dev/nosuch -- wrong true
		wrong_run "run: device that cannot be made" 1 "$(line 'cannot look at device /etc/passwd/null: ENOTDIR')" \
			--device /dev/null:/etc/passwd/null -- wrong true
		wrong_run "run: limit that cannot be set" 1 "$(line 'cannot set process.rlimits.0. RLIMIT_NOFILE: EPERM')" \
			--ulimit nofile=99999999:99999999 -- wrong true
		wrong_run "run: limit that the kernel refuses" 1 "$(line 'cannot set linux.resources.cpu.quota to 1.*: cpu.*EINVAL')" \
			--cpu-quota 1 -- wrong true
		[ "$runtime" != brig ] || check "nothing is left of these after rm" none_is_left
		op "run --volume" 0 'from the host' $run -v "$work/volume:/v" $box -- cat /v/file
		op "run --mount tmpfs" 0 'tmpfs on /mnt' $run --mount type=tmpfs,target=/mnt $box -- mount
		op "run --user --workingdir" 0 '^1000 /tmp$' $run --user 1000 --workingdir /tmp $box -- sh -c 'echo $(id -u) $(pwd)'
		op "run --hostname" 0 '^harbour$' $run --hostname harbour $box -- hostname
		tty_op "run -t" 4 '/dev/pts/0' 'tty\nexit 4\n' "$run -t $box -- sh"
		op "run writes into the container" 0 '^kept$' sh -c "$run $box -- sh -c 'echo kept >/kept' && $run $box -- cat /kept"
		op "commit" 0 '[0-9a-f]{64}' buildah commit $box localhost/made-$runtime
		op "run from the commit" 0 '^kept$' sh -c \
			"c=\$(buildah from --pull-never localhost/made-$runtime) && $run \$c -- cat /kept; s=\$?; buildah rm \$c >/dev/null; exit \$s"
		op "build of a Containerfile" 0 'localhost/built-' $build -t localhost/built-$runtime -f "$file" "$work/context"
		op "build: a RUN that fails" 7 'exit status 7' sh -c \
			"printf 'FROM localhost/small\nRUN exit 7\n' >$file.bad; $build -f $file.bad $work/context"
		op "rm" 0 '' buildah rm $box
	}
	[ "$runtime" != brig ] || check "nothing is left" nothing_left "$state"
}
