//! What is in a container is what is in its jail, whoever its parent is; and
//! who enters one gives nothing of the host away.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::support::{Case, Outcome, Test, mount, sh, until};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "processes/reparented",
        run: reparented,
    },
    Case {
        name: "processes/fork-while-counted",
        run: fork_while_counted,
    },
    Case {
        name: "processes/kill-all-without-the-first",
        run: without_the_first,
    },
    Case {
        name: "processes/jail-below",
        run: jail_below,
    },
    Case {
        name: "processes/exec-terminal",
        run: exec_terminal,
    },
    Case {
        name: "processes/exec-window-size",
        run: exec_window_size,
    },
    Case {
        name: "processes/attack-on-the-waiting",
        run: attack_on_the_waiting,
    },
    Case {
        name: "processes/attack-on-the-entering",
        run: attack_on_the_entering,
    },
];

fn in_jail(jail: &str, name: &str) -> Vec<String> {
    let found = sh(&format!("pgrep -j {jail} -x {name}")).unwrap_or_default();
    found.lines().map(String::from).collect()
}

/// Processes whose parent has gone, and daemons with a session of their own,
/// are listed, paused, resumed and killed as the others.
fn reparented(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |_| {})?;
    t.up(&bundle, "a")?;
    t.ok(&[
        "exec",
        "a",
        "sh",
        "-c",
        "(sleep 801 </dev/null >/dev/null 2>&1 &)",
    ])?;
    t.ok(&["exec", "-d", "a", "sleep", "802"])?;
    let listed = t.ok(&["ps", "a"])?;
    for words in ["sleep 801", "sleep 802", "sleep 1000"] {
        check!(listed.contains(words), "no {words}: {listed}");
    }
    let orphan = sh("pgrep -j a -f 'sleep 801'")?;
    let parent = sh(&format!("ps -o jid= -p $(ps -o ppid= -p {orphan})"))?;
    check!(parent.trim() == "0", "its parent is in jail {parent}");
    t.ok(&["pause", "a"])?;
    check!(t.ok(&["state", "a"])?.contains("\"paused\""), "not paused");
    let states = sh("ps -o state= -p $(pgrep -j a | paste -sd, -)")?;
    check!(states.lines().all(|s| s.starts_with('T')), "{states}");
    t.ok(&["resume", "a"])?;
    let states = sh("ps -o state= -p $(pgrep -j a | paste -sd, -)")?;
    check!(states.lines().all(|s| !s.starts_with('T')), "{states}");
    t.ok(&["kill", "--all", "a", "KILL"])?;
    until("all end", || in_jail("a", "sleep").is_empty())?;
    t.ok(&["delete", "a"]).map(drop)
}

/// A container that forks all the time is counted, held as a whole, and ended.
fn fork_while_counted(t: &Test) -> Outcome {
    let script = "while :; do (sleep 0.2 & sleep 0.3) & sleep 0.01; done";
    let bundle = t.bundle("b", &["sh", "-c", script], |c| {
        c["linux"]["resources"]["pids"]["limit"] = json!(60);
    })?;
    t.up(&bundle, "a")?;
    for _ in 0..5 {
        let listed = t.ok(&["ps", "--format", "json", "a"])?;
        let pids: Vec<i32> = serde_json::from_str(&listed)?;
        check!(!pids.is_empty(), "ps lists nothing");
    }
    for _ in 0..3 {
        t.ok(&["pause", "a"])?;
        let held = sh("pgrep -j a | sort")?;
        let states = sh("ps -o state= -p $(pgrep -j a | paste -sd, -)")?;
        check!(
            states.lines().all(|s| s.starts_with(['T', 'Z'])),
            "{states}"
        );
        std::thread::sleep(std::time::Duration::from_millis(600));
        check!(
            sh("pgrep -j a | sort")? == held,
            "some run while all are held"
        );
        t.ok(&["resume", "a"])?;
        until("it goes on", || {
            sh("pgrep -j a | sort").is_ok_and(|now| now != held)
        })?;
    }
    t.ok(&["kill", "--all", "a", "KILL"])?;
    until("all end", || sh("pgrep -j a").is_err())?;
    t.up(&bundle, "again").ok();
    t.down("a")?;
    t.down("again")
}

/// kill --all reaches what is left when the first process has gone.
fn without_the_first(t: &Test) -> Outcome {
    let script = "sleep 500 & sleep 501 & exit 0";
    let bundle = t.bundle("b", &["sh", "-c", script], |_| {})?;
    t.up(&bundle, "a")?;
    until("it stops", || {
        t.ok(&["state", "a"]).is_ok_and(|s| s.contains("stopped"))
    })?;
    let listed = t.ok(&["ps", "a"])?;
    check!(
        listed.contains("sleep 500") && listed.contains("sleep 501"),
        "{listed}"
    );
    t.ok(&["kill", "--all", "a", "KILL"])?;
    until("all end", || in_jail("a", "sleep").is_empty())?;
    t.ok(&["delete", "a"]).map(drop)
}

/// Processes of a jail inside the container's are the container's too.
fn jail_below(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        c["annotations"]["org.freebsd.jail.children.max"] = json!("2");
    })?;
    t.up(&bundle, "a")?;
    let root = bundle.join("rootfs");
    sh(&format!(
        "jail -c name=a.kid path={} persist && jexec a.kid sleep 803 >/dev/null 2>&1 &",
        root.display()
    ))?;
    until("the jail below runs", || {
        !in_jail("a.kid", "sleep").is_empty()
    })?;
    let listed = t.ok(&["ps", "a"])?;
    check!(listed.contains("sleep 803"), "{listed}");
    t.ok(&["kill", "--all", "a", "KILL"])?;
    until("all end", || in_jail("a.kid", "sleep").is_empty())?;
    t.down("a")?;
    check!(sh("jls -j a.kid").is_err(), "the jail below is there");
    Ok(())
}

/// exec -t: the terminal is made inside, and tty and ps show it there.
fn exec_terminal(t: &Test) -> Outcome {
    let bundle = with_tools(t, "b")?;
    t.up(&bundle, "a")?;
    let log = t.dir.join("typescript");
    let script =
        "tty; ps -o tty,command; ls -l /dev/pts; test -t 0 && test -t 1 && test -t 2 && echo all";
    let mut command = t.command(&["exec", "-t", "a", "sh", "-c", script]);
    let line = quoted(&mut command);
    sh(&format!(
        "script -q {} {line} </dev/null >/dev/null",
        log.display()
    ))?;
    let said = fs::read_to_string(&log)?;
    // script(1) shows the end of its input first.
    let name = said.lines().find_map(|line| line.split_once("/dev/"));
    let name = name.map(|(_, name)| name.trim());
    let Some(name) = name else {
        return Err(format!("tty names none: {said}").into());
    };
    check!(name.starts_with("pts/"), "{said}");
    let shown = said
        .lines()
        .any(|l| l.trim().starts_with(name) && l.contains("ps -o"));
    check!(shown, "ps does not show it: {said}");
    let number = name.trim_start_matches("pts/");
    let listed = said
        .lines()
        .any(|l| l.starts_with('c') && l.trim().ends_with(&format!(" {number}")));
    check!(listed, "/dev/pts does not have it: {said}");
    check!(said.contains("all"), "{said}");
    t.down("a")
}

/// exec -t: the size of brig's own terminal, and its changes, arrive inside.
fn exec_window_size(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |_| {})?;
    t.up(&bundle, "a")?;
    let log = t.dir.join("typescript");
    let script = "trap 'echo now $(stty size)' WINCH; echo ready; \
        i=0; while [ $i -lt 200 ]; do sleep 0.1; i=$((i+1)); done";
    let mut command = t.command(&["exec", "-t", "a", "sh", "-c", script]);
    let line = quoted(&mut command);
    sh(&format!(
        "script -qF {} {line} </dev/null >/dev/null 2>&1 &",
        log.display()
    ))?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    until("the program is ready", || said().contains("ready"))?;
    // brig's own terminal is the one that script made on the host.
    let outer = sh("ps -o tty= -p $(pgrep -n -j none -x brig)")
        .or_else(|_| sh("ps -o tty= -p $(pgrep -n -j 0 -x brig)"))?;
    sh(&format!(
        "stty -f /dev/{} rows 41 columns 141",
        outer.trim()
    ))?;
    let arrived = until("the size arrives", || said().contains("now 41 141"));
    t.down("a")?;
    arrived.map_err(|e| format!("{e}: {:?} on {outer}", said()).into())
}

fn quoted(command: &mut std::process::Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let words = command
        .get_args()
        .map(|word| word.to_string_lossy().into_owned());
    let quote = |word: String| format!("'{}'", word.replace('\'', "'\\''"));
    std::iter::once(program)
        .chain(words)
        .map(quote)
        .collect::<Vec<_>>()
        .join(" ")
}

/// What a process of the same user, which is root, tries on another one: each
/// line prints its name when it succeeds. The host's own tools are mounted in;
/// procfs has no file of what may not be read.
const ATTACKS: &str = r#"
try() {
    truss -o /tmp/truss -p $1 2>/dev/null & T=$!
    i=0
    while kill -0 $T 2>/dev/null && test $i -lt 50; do sleep 0.1; i=$((i+1)); done
    kill -INT $T 2>/dev/null && echo truss
    wait $T 2>/dev/null
    ktrace -f /tmp/ktrace -p $1 2>/dev/null && echo ktrace && ktrace -c -p $1
    test -n "$(procstat -h vm $1 2>/dev/null | tail -n +1)" && echo vmmap
    test -n "$(procstat -h environment $1 2>/dev/null | grep =)" && echo environment
    test -n "$(procstat -h files $1 2>/dev/null | grep ' v ')" && echo files
    test -n "$(cat /proc/$1/map 2>/dev/null)" && echo procfs-map
    cat /proc/$1/mem >/dev/null 2>/tmp/mem; grep -q 'No such file\|not permitted' /tmp/mem || echo procfs-mem
}
"#;

/// A bundle with the host's own programs and procfs.
fn with_tools(t: &Test, name: &str) -> Outcome<PathBuf> {
    t.sleeping(name, |c| {
        c["process"]["env"] = json!(["PATH=/bin:/usr/bin", "SECRET=x"]);
        for directory in ["/lib", "/libexec", "/usr/lib", "/usr/bin"] {
            let options = json!(["ro"]);
            mount(c, json!({"destination": directory, "type": "nullfs", "source": directory, "options": options}));
        }
        mount(c, json!({"destination": "/proc", "type": "procfs"}));
    })
}

/// The attacks work: on a program of the container's they all succeed.
fn control(t: &Test, victim: &str) -> Outcome {
    let script = format!("{ATTACKS}try {victim}; true");
    let said = t.ok(&["exec", "a", "sh", "-c", &script])?;
    for name in [
        "truss",
        "ktrace",
        "vmmap",
        "environment",
        "files",
        "procfs-map",
        "procfs-mem",
    ] {
        check!(
            said.contains(name),
            "{name} fails on a plain program too: {said}"
        );
    }
    Ok(())
}

/// The first process, waiting in the jail for start, cannot be traced or read
/// by what runs there already; the program that it becomes can.
fn attack_on_the_waiting(t: &Test) -> Outcome {
    let bundle = with_tools(t, "b")?;
    let file = t.dir.join("pid");
    let path = bundle.to_string_lossy().into_owned();
    t.ok(&[
        "create",
        "--pid-file",
        &file.to_string_lossy(),
        "-b",
        &path,
        "a",
    ])?;
    let pid = fs::read_to_string(&file)?;
    let script = format!("{ATTACKS}try {pid}; ps -o command= -p {pid}");
    let said = t.ok(&["exec", "a", "sh", "-c", &script])?;
    check!(said.contains("brig"), "it cannot be seen: {said}");
    let broken: Vec<&str> = said.lines().filter(|line| !line.contains("brig")).collect();
    check!(broken.is_empty(), "it was attacked by: {broken:?}");
    t.ok(&["start", "a"])?;
    control(t, &pid)?;
    t.down("a")
}

/// The same for the process of exec between jail_attach(2) and execve(2): it
/// has a long list of users to look its own up in, and is stopped there.
fn attack_on_the_entering(t: &Test) -> Outcome {
    let bundle = with_tools(t, "b")?;
    t.up(&bundle, "a")?;
    let root = bundle.join("rootfs");
    let script = format!(
        "{ATTACKS}while ! test -s /tmp/victim; do sleep 0.1; done; \
         try $(cat /tmp/victim) >/tmp/result; echo done >>/tmp/result"
    );
    t.ok(&["exec", "-d", "a", "sh", "-c", &script])?;
    let users = root.join("etc/passwd");
    sh(&format!(
        "yes '# nobody' | head -c 64000000 >>{}",
        users.display()
    ))?;
    let mut entering = t.spawn(&["exec", "-u", "www", "a", "sh", "-c", "exit 9"])?;
    until("a process enters", || in_jail("a", "brig").len() == 1)?;
    let pid = in_jail("a", "brig").remove(0);
    sh(&format!("kill -STOP {pid}"))?;
    check!(in_jail("a", "brig") == [pid.clone()], "it was too fast");
    let files = sh(&format!("procstat -h files {pid}"))?;
    fs::write(root.join("tmp/victim"), &pid)?;
    let result = root.join("tmp/result");
    let done = || fs::read_to_string(&result).is_ok_and(|text| text.contains("done"));
    let attacked = until("the attack is over", done);
    sh(&format!("kill -CONT {pid}"))?;
    let status = entering.wait()?;
    attacked?;
    let said = fs::read_to_string(&result)?;
    check!(said.trim() == "done", "it was attacked by: {said}");
    check!(status.code() == Some(9), "exec: {status:?}");
    // Its standard streams, the socket to brig, and the list.
    for line in files.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = words.get(2).and_then(|fd| fd.parse::<u32>().ok());
        let kind = words.get(3).copied().unwrap_or_default();
        let is_list = kind == "v" && line.ends_with("/etc/passwd");
        let harmless = number.is_none_or(|fd| fd < 3) || kind == "s" || is_list;
        check!(harmless, "it carries {line}");
    }
    let sleeping = in_jail("a", "sleep").into_iter().next().unwrap_or_default();
    control(t, &sleeping)?;
    t.down("a")
}
