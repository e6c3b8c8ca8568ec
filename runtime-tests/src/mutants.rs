//! How a runtime is broken, and which cases must notice it.

use crate::harness::Platforms::{Any, FreeBsd, Linux};
use crate::self_test::Mutant;

const fn any(mutation: &'static str, cases: &'static [&'static str]) -> Mutant {
    Mutant {
        mutation,
        platforms: Any,
        cases,
    }
}

const fn linux(mutation: &'static str, cases: &'static [&'static str]) -> Mutant {
    Mutant {
        mutation,
        platforms: Linux,
        cases,
    }
}

const fn freebsd(mutation: &'static str, cases: &'static [&'static str]) -> Mutant {
    Mutant {
        mutation,
        platforms: FreeBsd,
        cases,
    }
}

/// Every mutant; see [`crate::broken`] for their words.
pub const MUTANTS: &[Mutant] = &[
    // ------------------------------------------------ a fault is no failure
    any(
        "succeed create",
        &[
            "required/*",
            "lifecycle/duplicate-id-is-refused",
            "pid-file/not-writable-is-an-error",
            "process/rlimit-unknown-is-refused",
            "process/rlimit-twice-is-refused",
            "descriptors/preserved-but-closed-is-refused",
            "hooks/prestart-failure",
            "hooks/create-runtime-failure",
            "hooks/create-container-failure",
            "hooks/missing-program",
            "hooks/failure-names-the-hook",
            "hooks/timeout-kills-the-process-group",
            "terminal/nobody-listens",
            "terminal/no-socket",
            "terminal/socket-without-terminal",
            "mounts/source-missing*",
            "mounts/unknown-type",
            "mounts/failure-in-the-middle-leaves-nothing",
            "hostile/link-loop",
            "hostile/file-as-directory",
            "uts/hostname-without-namespace",
            "namespaces/path-of-another-kind",
            "namespaces/path-missing",
            "namespaces/listed-twice",
            "namespaces/relative-path",
            "namespaces/mappings-without-namespace",
            "rootfs-propagation/unknown",
            "devices/another-file-is-in-the-way",
            "masks/relative-path",
            "masks/relative-readonly-path",
            "sysctl/of-the-host-is-refused",
            "sysctl/without-namespace-is-refused",
            "seccomp/unknown-action",
            "seccomp/no-names",
            "seccomp/errno-of-a-killing-*",
            "seccomp/metadata-without-a-listener",
            "unsupported/is-refused-by-path",
            "faults/not-*",
            "faults/empty-*",
            "faults/json-but-no-object",
            "faults/no-config",
            "faults/no-bundle",
            "faults/no-version",
            "faults/no-root",
            "faults/no-args",
            "faults/wrong-type*",
            "faults/version-*",
            "faults/rootfs-*",
            "faults/relative-*",
            "faults/negative-hook-timeout",
            "faults/nul-byte",
            "faults/bad-ids",
            "faults/long-ids",
            "faults/id-in-use",
            "faults/missing-argument",
            "faults/user-namespace-without-mappings",
            "faults/error-is-one-write",
            "faults/annotation*",
            "faults/duplicate-names",
            "faults/weight-device-without-a-weight",
            "faults/rdma-without-a-limit",
            "bundle/only-config-json-is-read",
            "cgroups/burst-above-the-quota",
            "cgroups/unified-of-no-controller",
            "cgroups/frozen-is-refused",
            "net-devices/missing-is-refused",
            "net-devices/name-is-taken",
            "operations/create-without-an-id",
            "mount-options/*-alone",
            "mount-options/*-without-mappings",
            "mount-options/unknown-goes-to-the-file-system",
            "hostile/long-component",
            "hostile/long-destination",
            "freebsd/*-unknown",
            "freebsd/*-missing",
            "freebsd/*-malformed",
            "freebsd/*-of-the-other-family",
            "freebsd/enforce-statfs-out-of-range",
            "freebsd/enforce-statfs-negative",
            "freebsd/vnet-disable",
            "freebsd/allow-not-a-boolean",
            "freebsd/nullfs-of-a-socket",
            "freebsd/device-outside-of-dev",
            "freebsd/parent-is-not-a-string",
        ],
    ),
    any(
        "succeed start",
        &[
            "lifecycle/start-twice-fails",
            "lifecycle/start-of-stopped-fails",
            "lifecycle/start-of-unknown-fails",
            "operations/start-without-an-id",
            "hooks/start-container-failure",
            "hooks/poststart-failure",
            "hooks/poststop-after-failed-start-container",
            "concurrency/two-starts",
            "crash/waiting-process-killed",
            "hostile/environment-too-large",
        ],
    ),
    any(
        "succeed create,start",
        &[
            "exec-failure/*",
            "seccomp/notify-nobody-listens",
            "faults/no-process",
        ],
    ),
    any(
        "succeed state",
        &[
            "lifecycle/state-of-unknown-fails",
            "operations/state-without-an-id",
            "lifecycle/delete-removes-everything",
        ],
    ),
    any(
        "succeed kill",
        &[
            "lifecycle/kill-of-unknown-fails",
            "operations/kill-without-an-id",
            "kill/stopped-fails",
            "engines/not-running-words",
            "engines/kill-twice",
            "faults/unknown-signal",
        ],
    ),
    any(
        "succeed delete",
        &[
            "lifecycle/delete-of-unknown-fails",
            "lifecycle/delete-of-running-fails",
            "lifecycle/delete-of-created-fails",
            "operations/delete-without-an-id",
            "engines/delete-twice",
        ],
    ),
    any(
        "succeed exec",
        &[
            "exec/exit-status",
            "exec/status-of-a-signal",
            "exec/missing-program-is-127",
            "exec/not-in-path-is-127",
            "exec/not-executable-is-126",
            "exec/of-unknown-is-255",
            "exec/in-stopped-fails",
            "exec/in-paused-is-refused",
            "exec/unknown-user",
            "exec/no-command",
            "exec/no-pid-file-on-failure",
            "engines/exec-process-file-missing",
            "hostile/passwd-is-a-fifo",
            "hostile/passwd-is-a-link-to-the-host",
            "concurrency/exec-and-kill",
        ],
    ),
    any(
        "succeed run",
        &[
            "run/returns-the-status",
            "run/status-of-a-signal",
            "run/missing-program-leaves-nothing",
            "run/forwards-signals",
        ],
    ),
    any("succeed pause", &["pause/of-stopped-fails"]),
    any("succeed resume", &["pause/resume-of-running-fails"]),
    any("succeed spec", &["spec/does-not-overwrite"]),
    any("succeed events", &["events/of-stopped-fails"]),
    any("succeed checkpoint", &["checkpoint/is-not-there"]),
    linux(
        "succeed update",
        &["update/not-json", "update/limit-below-the-usage"],
    ),
    any(
        "fail any",
        &[
            "lifecycle/force-delete-of-unknown-succeeds",
            "version/names-the-specification",
            "faults/every-1.x-is-accepted",
            "faults/odd-but-good-ids",
            "faults/unknown-command",
            "state/unknown-*",
            "engines/conmon-flags",
            "engines/containerd-flags",
            "engines/rootless-flag",
        ],
    ),
    any(
        "status any 77",
        &["faults/unknown-command", "faults/unknown-flag"],
    ),
    any("mute create", &["faults/not-json"]),
    any(
        "noise create",
        &["faults/error-is-one-write", "engines/quiet-on-success"],
    ),
    // ------------------------------------------------ a command does nothing
    any(
        "noop create",
        &[
            "lifecycle/create-argument-order",
            "operations/*",
            "state/bundle-is-absolute",
        ],
    ),
    any(
        "noop start",
        &[
            "lifecycle/start-runs-the-program",
            "lifecycle/end-leaves-stopped",
            "lifecycle/has-the-five-operations",
            "lifecycle/deleted-id-is-free-at-once",
            "lifecycle/bundle-may-be-used-twice",
        ],
    ),
    any(
        "noop kill",
        &[
            "kill/default-is-term",
            "kill/name-*",
            "kill/number",
            "kill/lower-case",
            "kill/program-goes-on",
            "kill/kill-ends-what-ignores-term",
            "kill/created-is-reached",
            "kill/all-reaches-descendants",
            "lifecycle/process-is-a-child-of-the-subreaper",
            "lifecycle/delete-after-kill-of-created",
            "engines/kill-number-of-conmon",
            "hostile/fork-bomb-against-kill-all",
        ],
    ),
    any("swallow --all -a", &["kill/all-of-stopped-succeeds"]),
    linux("swallow --all -a", &["kill/all-without-pid-namespace"]),
    freebsd("swallow --all -a", &["kill/all-reaches-descendants"]),
    any(
        "noop delete",
        &[
            "lifecycle/force-delete-of-running",
            "lifecycle/force-delete-of-created",
            "pause/killed-while-paused",
            "lifecycle/bundle-may-vanish-before-delete",
            "concurrency/two-deletes",
            "concurrency/delete-during-create",
            "concurrency/kill-and-delete",
            "concurrency/start-and-delete",
            "crash/create-killed",
            "crash/delete-killed",
            "crash/run-killed",
            "crash/truncated-state",
            "crash/empty-state",
            "kill/delete-ends-survivors-of-the-first-process",
            "kill/fork-bomb",
            "kill/all-without-pid-namespace",
            "hostile/fork-bomb-against-delete",
            "hostile/thousands-of-mounts",
            "hostile/large-config",
            "exec/detached-survives-nothing",
            "cgroups/path-and-removal",
            "engines/many-containers",
            "delete/spares-what-it-did-not-make",
            "hooks/poststop-*",
        ],
    ),
    any(
        "noop pause",
        &["pause/stops-and-resumes", "pause/of-stopped-fails"],
    ),
    any("noop resume", &["pause/stops-and-resumes"]),
    any(
        "noop exec",
        &[
            "exec/runs-inside",
            "exec/joins-every-namespace",
            "exec/standard-input",
            "exec/in-created",
            "exec/process-file",
            "exec/capabilities-of-the-container",
            "exec/root-is-the-containers",
            "exec/forwards-signals",
            "exec/exit-status",
            "concurrency/many-execs",
            "terminal/exec-over-the-console-socket",
            "namespaces/user-exec",
            "cgroups/exec-joins",
            "hostile/exec-cwd-descriptor-escape",
        ],
    ),
    any(
        "noop run",
        &["run/*", "terminal/run-*", "concurrency/parallel-lives"],
    ),
    any("noop list", &["list/*", "concurrency/list-during-lives"]),
    any("noop ps", &["ps/*"]),
    any("noop events", &["events/*"]),
    linux("noop update", &["update/*"]),
    any("noop gc", &["crash/gc-after-killed-creates"]),
    any("noop spec", &["spec/is-accepted-by-create"]),
    // -------------------------------------------------- output and state
    any(
        "json state /status \"running\"",
        &["lifecycle/create-leaves-created", "crash/start-killed"],
    ),
    any(
        "json state /status \"sleeping\"",
        &["engines/state-is-one-of-four", "state/fits-the-schema"],
    ),
    any(
        "json state /pid 1",
        &[
            "state/has-every-field",
            "pid-file/is-a-bare-decimal",
            "state/stopped-has-no-live-pid",
        ],
    ),
    any(
        "json state /bundle \".\"",
        &[
            "state/bundle-is-absolute",
            "lifecycle/create-argument-order",
        ],
    ),
    any("json state /rootfs", &["state/has-what-engines-read"]),
    any(
        "json state /annotations",
        &[
            "state/has-the-annotations",
            "engines/annotations-of-podman",
            "hostile/large-config",
        ],
    ),
    any("pid-file 1", &["state/pid-is-alive"]),
    any(
        "pid-file 1x",
        &[
            "pid-file/is-a-bare-decimal",
            "pid-file/is-replaced-whole",
            "exec/detach-and-pid-file",
        ],
    ),
    any(
        "swallow --pid-file=",
        &[
            "pid-file/not-writable-is-an-error",
            "lifecycle/one-process-resident-after-create",
        ],
    ),
    any(
        "pid-file-early",
        &["exec/no-pid-file-on-failure", "hostile/pid-file-is-a-link"],
    ),
    any(
        "reword any does~not~exist is~gone",
        &["engines/does-not-exist-words", "exec/of-unknown-is-255"],
    ),
    any(
        "reword any not~running idle",
        &["engines/not-running-words", "engines/kill-twice"],
    ),
    any(
        "output features {}",
        &[
            "features/json",
            "features/versions",
            "features/its-versions-are-accepted",
            "features/its-hooks-are-called",
        ],
    ),
    linux(
        "output features {}",
        &["features/linux", "features/its-capabilities-are-known"],
    ),
    any(
        "json features /unheardOf 1",
        &["features/nothing-that-is-not-defined"],
    ),
    any(
        "json features /ociVersionMin \"1.9.0\"",
        &["features/versions"],
    ),
    any(
        "json features /ociVersionMax \"7.0.0\"",
        &["features/its-versions-are-accepted"],
    ),
    any(
        "json features /hooks [\"later\"]",
        &["features/its-hooks-are-called"],
    ),
    any(
        "json features /mountOptions [\"nosuchoption\"]",
        &["features/its-mount-options-are-known"],
    ),
    any(
        "json features /mountOptions [\"size=\"]",
        &["features/no-options-of-a-file-system"],
    ),
    any(
        "json features /annotations {\"\":\"x\"}",
        &["features/annotations"],
    ),
    linux(
        "json features /linux/namespaces [\"dream\"]",
        &["features/its-namespaces-are-known"],
    ),
    linux(
        "json features /linux/capabilities [\"CAP_DREAM\"]",
        &["features/its-capabilities-are-known"],
    ),
    linux(
        "json features /linux/seccomp/actions [\"SCMP_ACT_DREAM\"]",
        &["features/its-seccomp-actions-are-known"],
    ),
    linux(
        "json features /linux/seccomp/operators [\"SCMP_CMP_DREAM\"]",
        &["features/its-seccomp-operators-are-known"],
    ),
    linux(
        "json features /linux/seccomp/archs [\"SCMP_ARCH_DREAM\"]",
        &["features/its-seccomp-architectures-are-known"],
    ),
    linux(
        "json features /linux/seccomp/supportedFlags [\"DREAM\"]",
        &["features/its-seccomp-flags-are-known"],
    ),
    linux(
        "json features /linux/memoryPolicy {\"modes\":[\"MPOL_DREAM\"]}",
        &["features/its-memory-policies-are-known"],
    ),
    linux(
        "json features /linux/mountExtensions/idmap/enabled \"perhaps\"",
        &["features/mount-extensions"],
    ),
    any(
        "output list not~json",
        &["list/*", "concurrency/list-during-lives"],
    ),
    any(
        "swallow --log=",
        &["faults/log-*", "engines/log-file-keeps-old-records"],
    ),
    linux(
        "drop /process/capabilities/bounding/-",
        &["process/unknown-capability-is-logged"],
    ),
    any(
        "fail create",
        &[
            "engines/long-state-root",
            "engines/relative-root",
            "engines/without-path",
        ],
    ),
    // ------------------------------------------------ the process
    any(
        "drop /process/args/-",
        &["process/args", "hostile/many-arguments"],
    ),
    any(
        "set /process/env/0 \"PATH=/nowhere\"",
        &["process/args-found-in-path"],
    ),
    any(
        "drop /process/env/-",
        &["process/env", "hostile/huge-environment"],
    ),
    any(
        "set /process/cwd \"/tmp\"",
        &["process/cwd", "process/cwd-is-made"],
    ),
    any(
        "drop /process/env/50 /process/env/51 /process/env/52",
        &["process/env-large"],
    ),
    any("drop /process/user/umask", &["process/umask"]),
    any(
        "set /process/user/umask 511",
        &["process/umask-not-inherited-oddly"],
    ),
    any("set /process/user/uid 5", &["process/user"]),
    any(
        "set /process/user/additionalGids [4]",
        &["process/no-groups-of-the-host", "process/additional-gids"],
    ),
    any(
        "drop /process/rlimits",
        &["process/rlimits", "process/every-rlimit"],
    ),
    any(
        "set /process/noNewPrivileges false",
        &["process/no-new-privileges-set"],
    ),
    any(
        "set /process/noNewPrivileges true",
        &["process/no-new-privileges-clear"],
    ),
    linux("set /process/oomScoreAdj 7", &["process/oom-score-adj*"]),
    linux(
        "append /process/capabilities/bounding \"CAP_SYS_TIME\"",
        &["process/capability-sets", "process/no-capabilities"],
    ),
    linux(
        "drop /process/capabilities",
        &["process/capabilities-of-a-user"],
    ),
    linux(
        "append /process/rlimits {}",
        &["process/unknown-capability-is-a-warning"],
    ),
    linux("drop /process/scheduler", &["process/scheduler"]),
    linux("drop /process/ioPriority", &["process/io-priority"]),
    linux("drop /linux/personality", &["process/personality"]),
    linux(
        "set /linux/personality {\"domain\":\"LINUX32\"}",
        &["process/personality-absent"],
    ),
    linux(
        "set /linux/resources/cpu {\"cpus\":\"0\"}",
        &["process/cpu-affinity-is-left-alone"],
    ),
    linux("drop /process/execCPUAffinity", &["exec/cpu-affinity"]),
    any(
        "fail start",
        &[
            "process/session",
            "process/signals-are-default",
            "process/ignored-signals-are-not-inherited",
            "process/standard-streams",
            "process/first-in-its-pid-namespace",
        ],
    ),
    any(
        "descriptors",
        &[
            "descriptors/preserve-fds",
            "descriptors/listen-fds",
            "exec/preserve-fds",
        ],
    ),
    any("insert create --preserve-fds 3", &["descriptors/none-leak"]),
    any(
        "insert create,exec --preserve-fds 50",
        &["hostile/hundred-descriptors", "exec/no-descriptor-leaks"],
    ),
    any(
        "drop /process/terminal",
        &[
            "terminal/over-the-console-socket",
            "terminal/is-the-standard-streams",
            "terminal/has-a-name-inside",
            "terminal/resize",
            "terminal/interrupt-key",
            "terminal/of-a-user",
            "terminal/no-descriptor-of-the-master-inside",
        ],
    ),
    any(
        "set /process/terminal true",
        &["terminal/console-size-is-ignored-without-a-terminal"],
    ),
    any("drop /process/consoleSize", &["terminal/console-size"]),
    // ------------------------------------------------ exec
    any("swallow -e --env=", &["exec/environment-flag"]),
    any("swallow --cwd=", &["exec/cwd-flag"]),
    any(
        "swallow -u= --user=",
        &["exec/user-by-*", "exec/group-by-name"],
    ),
    any(
        "swallow -d --detach",
        &["run/detach", "exec/detach-and-pid-file"],
    ),
    any("swallow --keep", &["run/keep"]),
    any("linger run", &["run/ends-with-its-daemons-left"]),
    // ------------------------------------------------ what stays behind
    any(
        "leak process start",
        &["lifecycle/nothing-resident-after-start"],
    ),
    any(
        "leak process create",
        &["lifecycle/one-process-resident-after-create"],
    ),
    any(
        "leak state delete",
        &["lifecycle/force-delete-of-many-processes"],
    ),
    // ------------------------------------------------ hooks
    any(
        "drop /hooks",
        &[
            "hooks/arguments",
            "hooks/environment",
            "hooks/no-environment",
            "hooks/create-*",
            "hooks/start-container-*",
            "hooks/poststart-*",
            "hooks/poststop-*",
            "hooks/prestart-failure",
            "hooks/missing-program",
            "hooks/namespaces",
            "hooks/*-in-the-state",
            "hooks/timeout-kills-the-process-group",
        ],
    ),
    any(
        "reverse /hooks/createRuntime /hooks/poststart /hooks/prestart",
        &["hooks/order"],
    ),
    any(
        "drop /hooks/prestart",
        &["hooks/order", "hooks/environment-is-there"],
    ),
    any("drop /hooks/createRuntime", &["hooks/order"]),
    any(
        "drop /hooks/createContainer",
        &["hooks/order", "hooks/namespaces"],
    ),
    any(
        "drop /hooks/startContainer",
        &["hooks/order", "hooks/namespaces"],
    ),
    any("drop /hooks/poststart", &["hooks/order"]),
    any("drop /hooks/poststop", &["hooks/order"]),
    any("slow create 5000", &["hooks/timeout-is-not-waited-out"]),
    any("slow start 9000", &["crash/waiting-process-killed"]),
    // ------------------------------------------------ root and mounts
    any(
        "drop /mounts/-",
        &[
            "mounts/bind-*",
            "mounts/destination-is-made",
            "mounts/source-missing*",
            "mounts/unknown-type",
            "mounts/tmp*",
            "mounts/noexec-holds",
            "mounts/recursive-*",
            "mounts/in-order",
            "mounts/over-each-other",
            "mounts/relative-*",
            "mounts/link-stays-inside",
            "mounts/many",
            "mount-options/*",
            "root/mode-of-made-directories",
            "hostile/deep-destination",
        ],
    ),
    any(
        "drop /mounts/-/options",
        &[
            "mounts/bind-read-only",
            "mounts/bind-file-read-only",
            "mounts/noexec-holds",
            "mounts/options-nosuid-noexec",
        ],
    ),
    any(
        "reverse /mounts",
        &["mounts/in-order", "mounts/over-each-other"],
    ),
    any("drop /root/readonly", &["root/readonly"]),
    any("set /root/readonly true", &["root/writable"]),
    any("set /root/path \"nowhere\"", &["root/*"]),
    any("drop /hostname", &["uts/hostname"]),
    any("drop /domainname", &["uts/domainname"]),
    any(
        "drop /mounts",
        &[
            "lifecycle/environment-is-there-after-create",
            "filesystems/*",
            "freebsd/fdescfs",
            "freebsd/relative-destination",
        ],
    ),
    freebsd(
        "set /freebsd/jail/host \"new\"",
        &["freebsd/host-inherit-with-a-hostname"],
    ),
    // ------------------------------------------------ Linux
    linux("drop /linux/namespaces/0", &["namespaces/new"]),
    linux(
        "append /linux/namespaces {\"type\":\"network\"}",
        &["namespaces/absent-is-the-runtimes"],
    ),
    linux(
        "drop /linux/namespaces/-/path",
        &["namespaces/by-path", "namespaces/of-another-container"],
    ),
    linux(
        "drop /linux/namespaces/1",
        &["namespaces/network-has-loopback-only"],
    ),
    linux("fail create", &["namespaces/user-*"]),
    linux("drop /linux/timeOffsets", &["namespaces/time"]),
    linux(
        "drop /linux/rootfsPropagation",
        &["rootfs-propagation/shared", "rootfs-propagation/unknown"],
    ),
    linux(
        "set /linux/rootfsPropagation \"shared\"",
        &["rootfs-propagation/private"],
    ),
    linux(
        "drop /linux/devices",
        &["devices/configured", "devices/fifo"],
    ),
    linux(
        "drop /linux/resources/devices",
        &["devices/rules-deny", "devices/rules-in-order"],
    ),
    linux(
        "append /linux/resources/devices {\"allow\":false,\"access\":\"rwm\"}",
        &["devices/rules-allow"],
    ),
    linux("fail start", &["devices/default", "devices/null-works"]),
    linux(
        "drop /linux/maskedPaths /linux/readonlyPaths",
        &["masks/masked-*", "masks/readonly-path", "masks/relative-*"],
    ),
    linux("drop /linux/sysctl", &["sysctl/*"]),
    linux(
        "drop /linux/cgroupsPath",
        &[
            "cgroups/path-and-removal",
            "cgroups/relative-path",
            "cgroups/same-place-each-time",
            "cgroups/owner-is-left-alone",
            "cgroups/frozen-is-refused",
        ],
    ),
    linux(
        "drop /linux/resources",
        &[
            "cgroups/pids-limit*",
            "cgroups/memory-limit",
            "cgroups/cpu*",
            "cgroups/burst-above-the-quota",
            "cgroups/unified-of-no-controller",
        ],
    ),
    linux(
        "drop /linux/seccomp",
        &[
            "seccomp/errno*",
            "seccomp/with-privileges",
            "seccomp/exec",
            "seccomp/unknown-action",
            "seccomp/no*",
            "seccomp/arguments",
            "seccomp/metadata-without-a-listener",
        ],
    ),
    linux("drop /linux/netDevices", &["net-devices/*"]),
    any(
        "follow",
        &[
            "hostile/link-to-the-host",
            "hostile/link-with-dots",
            "hostile/destination-with-dots",
            "hostile/link-chain",
            "hostile/swapped-*",
            "hostile/cwd-through-a-link",
            "hostile/dev-is-a-link",
            "hostile/mount-point-is-a-link",
            "faults/mount-through-a-link",
        ],
    ),
    linux(
        "follow",
        &["masks/link-stays-inside", "cgroups/path-with-dots"],
    ),
    any(
        "wipe delete",
        &[
            "hostile/delete-spares-a-live-bind",
            "delete/spares-what-it-did-not-make",
        ],
    ),
    linux("end-cgroup", &["hostile/cgroup-of-others"]),
    any(
        "again start",
        &["lifecycle/later-config-changes-have-no-effect"],
    ),
    any("change-self exec", &["hostile/runtime-binary-is-safe"]),
    linux(
        "open-directory create",
        &["hostile/waiting-process-has-no-host-directory"],
    ),
    linux(
        "set /process/cwd \"/\" /process/args [\"/bin/probe\",\"echo\",\"{\\\"cwd\\\":\\\"out\\\"}\"]",
        &["hostile/cwd-descriptor-escape"],
    ),
    any("noop exec", &["hostile/waiting-process-cannot-be-traced"]),
    linux(
        "drop /linux/namespaces/-",
        &["hostile/created-process-cannot-be-traced"],
    ),
    any(
        "status create 139",
        &[
            "faults/edge-numbers",
            "hostile/edges-of-*",
            "hostile/deep-json",
        ],
    ),
    any(
        "linger create",
        &[
            "hostile/fifo-as-a-destination",
            "hooks/that-reads-nothing",
            "hooks/that-writes-a-lot",
        ],
    ),
    any("succeed create", &["concurrency/two-creates-of-one-id"]),
    any(
        "fail create",
        &[
            "hostile/long-bundle-path",
            "engines/host-check-finds-a-leak",
        ],
    ),
    linux(
        "fail create",
        &[
            "devices/links",
            "masks/missing-path",
            "seccomp/unknown-call-name",
            "cgroups/unified",
        ],
    ),
    linux("leak mount create", &["mounts/none-on-the-host"]),
    // ------------------------------------- without a mount namespace
    linux(
        "append /linux/namespaces {\"type\":\"mount\"}",
        &["host-mounts/namespace-is-the-runtimes"],
    ),
    linux(
        "noop delete",
        &[
            "host-mounts/delete-takes-them-back",
            "host-mounts/create-killed",
        ],
    ),
    linux(
        "leak mount create",
        &["host-mounts/failed-create-leaves-nothing"],
    ),
    linux("noop exec", &["host-mounts/exec"]),
    linux(
        "drop /linux/maskedPaths /linux/readonlyPaths",
        &["host-mounts/closed-paths"],
    ),
    linux("follow", &["host-mounts/links-stay-inside"]),
    // ------------------------------------------------- the owner of cgroups
    linux(
        "drop /mounts/-",
        &[
            "cgroups/owner-is-the-process",
            "cgroups/owner-may-divide-it",
            "cgroups/owner-of-listed-files",
            "cgroups/owner-without-a-list",
        ],
    ),
    linux("set /mounts/-/options []", &["cgroups/owner-of-read-only"]),
    linux(
        "append /linux/namespaces {\"type\":\"cgroup\"}",
        &["cgroups/owner-without-namespace"],
    ),
    // ------------------------------------------------ FreeBSD
    freebsd(
        "set /freebsd/jail {\"allow\":{\"rawSockets\":true,\"chflags\":true,\"quotas\":true,\"socketAf\":true,\"mlock\":true,\"suser\":false}}",
        &["freebsd/allow-*-default"],
    ),
    freebsd(
        "set /freebsd/jail {\"sysvmsg\":\"disable\",\"sysvsem\":\"disable\",\"sysvshm\":\"disable\",\"enforceStatfs\":1}",
        &["freebsd/sysv*-default", "freebsd/enforce-statfs-default"],
    ),
    freebsd(
        "set /freebsd/jail/allow/mount [\"tmpfs\"]",
        &[
            "freebsd/allow-mount-default",
            "freebsd/mount-inside-forbidden",
        ],
    ),
    freebsd("fail create", &["freebsd/*"]),
    freebsd(
        "drop /freebsd",
        &[
            "freebsd/vnet-*",
            "freebsd/ip4-*",
            "freebsd/ip6-*",
            "freebsd/interface-alias*",
            "freebsd/enforce-statfs",
            "freebsd/allow-*",
            "freebsd/device*",
            "freebsd/parent-jail*",
            "freebsd/host-*",
            "freebsd/mount-*",
            "freebsd/sysv*",
            "freebsd/children-max-of-a-parent",
        ],
    ),
    freebsd("drop /annotations", &["freebsd/*-by-annotation"]),
];
