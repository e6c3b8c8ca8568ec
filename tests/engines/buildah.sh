# buildah --isolation oci. Sourced by run, after podman_setup.
# shellcheck shell=sh disable=SC2016,SC2034,SC2086,SC2154

engine=buildah

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
	{
		op "from scratch, copy" 0 '^[0-9a-f]{64}$' buildah copy $box "$work/rootfs" /
		op "run" 0 '^in a box$' $run $box -- echo in a box
		is_a_measure || return 0
		op "run: exit code" 4 '' $run $box -- sh -c 'exit 4'
		op "run: missing program" 1 'executable file not found in \$PATH' $run $box -- nosuch
		op "run: program not executable" 1 '[Pp]ermission denied' $run $box -- /etc/passwd
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
