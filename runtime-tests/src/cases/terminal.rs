//! Terminals: the console socket, and run in the foreground.

use serde_json::{Value, json};

use crate::harness::Platforms::Any;
use crate::harness::console::{ConsoleSocket, Terminal, socket_path};
use crate::harness::test::patience;
use crate::harness::{Bundle, Case, Container, Outcome, Test};
use crate::{check, same};

pub const CASES: &[Case] = &[
    Case {
        name: "terminal/over-the-console-socket",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "create sends the terminal's master over the console socket, and the program talks through it.",
        run: |t| {
            let (c, mut terminal) = create(t, t.bundle()?.acts(&["ready", ";", "line"]))?;
            c.start()?;
            terminal.await_text("ready")?;
            terminal.type_in("hello\n")?;
            terminal.await_text("line hello")?;
            c.await_status("stopped")
        },
    },
    Case {
        name: "terminal/is-the-standard-streams",
        platforms: Any,
        section: "config.md, Process",
        says: "With terminal true, 0, 1 and 2 are one terminal, which controls the program's session.",
        run: |t| {
            let report = report(t, t.bundle()?)?;
            let tty = &report["tty"];
            for stream in ["stdin", "stdout", "stderr"] {
                check!(tty[stream].is_object(), "{stream} is no terminal: {tty}");
                same!(tty[stream]["name"], tty["stdin"]["name"], stream);
            }
            same!(
                tty["stdin"]["controlling"],
                json!(true),
                "whether it controls the session"
            );
            same!(report["sid"], report["pid"], "the session");
            Ok(())
        },
    },
    Case {
        name: "terminal/has-a-name-inside",
        platforms: Any,
        section: "engines, podman and buildah on FreeBSD",
        says: "The terminal is visible inside: ttyname finds it in /dev.",
        run: |t| {
            let report = report(t, t.bundle()?)?;
            let name = report["tty"]["stdin"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            check!(name.starts_with("/dev/"), "ttyname says {name:?}");
            Ok(())
        },
    },
    Case {
        name: "terminal/console-size",
        platforms: Any,
        section: "config.md, Process",
        says: "consoleSize is the terminal's size when the program starts.",
        run: |t| {
            let size = json!({"height": 33, "width": 111});
            let report = report(t, t.bundle()?.set("/process/consoleSize", size))?;
            let stdin = &report["tty"]["stdin"];
            same!(
                (&stdin["rows"], &stdin["columns"]),
                (&json!(33), &json!(111)),
                "rows and columns"
            );
            Ok(())
        },
    },
    Case {
        name: "terminal/resize",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "A change of the master's size reaches the program with SIGWINCH.",
        run: |t| {
            let (c, mut terminal) = create(t, t.bundle()?.acts(&["resize-watch", "40"]))?;
            c.start()?;
            terminal.await_text("size ")?;
            terminal.resize(40, 120)?;
            terminal.await_text("resized 40 120")
        },
    },
    Case {
        name: "terminal/interrupt-key",
        platforms: Any,
        section: "config.md, Process",
        says: "The terminal's interrupt key sends SIGINT to the program.",
        run: |t| {
            let (c, mut terminal) = create(t, t.bundle()?.acts(&["wait"]))?;
            c.start()?;
            terminal.await_text("ready")?;
            terminal.type_in("\u{3}")?;
            terminal.await_text("got SIGINT")?;
            same!(c.exit_code()?, 130, "the program's exit status");
            Ok(())
        },
    },
    Case {
        name: "terminal/of-a-user",
        platforms: Any,
        section: "config.md, Process",
        says: "The terminal of a user other than root can be opened by that user.",
        run: |t| {
            let bundle = t
                .bundle()?
                .set("/process/user", json!({"uid": 1000, "gid": 1001}));
            let mut outcome = Ok(());
            // The second terminal has the first one's name unless another
            // container has got it meanwhile.
            for _ in 0..5 {
                let report = report(t, bundle.clone())?;
                same!(
                    report["tty"]["stdin"]["controlling"],
                    json!(true),
                    "whether /dev/tty opens"
                );
                let name = report["tty"]["stdin"]["name"].as_str().unwrap_or("?");
                let user = json!({"uid": 1000, "gid": 1001});
                let opens = t.bundle()?.set("/process/user", user);
                let (c, mut terminal) = create(t, opens.acts(&["try", "open-write", name]))?;
                c.start()?;
                outcome = terminal.await_text("ok");
                if outcome.is_ok() {
                    break;
                }
            }
            outcome
        },
    },
    Case {
        name: "terminal/no-descriptor-of-the-master-inside",
        platforms: Any,
        section: "hostile, descriptors",
        says: "The program with a terminal has descriptors 0, 1 and 2 only.",
        run: |t| {
            let report = report(t, t.bundle()?)?;
            let fds = report["fds"].as_array().map_or(0, Vec::len);
            check!(fds == 3, "the open descriptors are {}", report["fds"]);
            Ok(())
        },
    },
    Case {
        name: "terminal/nobody-listens",
        platforms: Any,
        section: "robustness, wrong input",
        says: "A console socket that nobody listens on fails create with its path, and nothing is left.",
        run: |t| {
            let path = socket_path(&t.dir)?;
            drop(ConsoleSocket::listen(path.clone())?);
            let path = path.to_string_lossy();
            let bundle = t.bundle()?.set("/process/terminal", json!(true));
            let run = t.refused(&bundle, &["--console-socket", &path])?;
            run.one_line(&[&path])?.no_exec_phrase()?;
            Ok(())
        },
    },
    Case {
        name: "terminal/no-socket",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "create with a terminal but without a console socket fails, and nothing is left.",
        run: |t| {
            t.refused(&t.bundle()?.set("/process/terminal", json!(true)), &[])?;
            Ok(())
        },
    },
    Case {
        name: "terminal/socket-without-terminal",
        platforms: Any,
        section: "robustness, wrong input",
        says: "A console socket for a process without a terminal is an error, as with runc.",
        run: |t| {
            let socket = ConsoleSocket::listen(socket_path(&t.dir)?)?;
            t.refused(&t.bundle()?, &["--console-socket", socket.argument()])?;
            Ok(())
        },
    },
    Case {
        name: "terminal/exec-over-the-console-socket",
        platforms: Any,
        section: "engines, podman and conmon",
        says: "exec --detach with a terminal sends its master over the console socket.",
        run: |t| {
            let c = t.running()?;
            let socket = ConsoleSocket::listen(socket_path(&t.dir)?)?;
            let pid = t.fresh("pid");
            let flags = [
                "-d",
                "-t",
                "--console-socket",
                socket.argument(),
                "--pid-file",
                &pid.to_string_lossy(),
            ];
            c.exec(&flags, &["ready", ";", "line"])?.ok()?;
            check!(pid.exists(), "there is no pid file");
            let mut terminal = socket.receive()?;
            terminal.await_text("ready")?;
            terminal.type_in("typed\n")?;
            terminal.await_text("line typed")
        },
    },
    Case {
        name: "terminal/run-in-the-foreground",
        platforms: Any,
        section: "engines, run",
        says: "run on a terminal carries input and output, and leaves the terminal as it was.",
        run: |t| {
            let (mut terminal, process) = run(t, &["ready", ";", "line", ";", "exit", "6"])?;
            terminal.await_text("ready")?;
            terminal.type_in("abc\r")?;
            terminal.await_text("line abc")?;
            process.wait(patience())?.status(6)?;
            Ok(())
        },
    },
    Case {
        name: "terminal/run-has-the-size-of-ours",
        platforms: Any,
        section: "robustness, run",
        says: "run gives the program the size of its own terminal.",
        run: |t| {
            let (mut terminal, process) = run(t, &["await", "/go", ";", "resize-watch", "24"])?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            let go = t.dir.join("bundle1/rootfs/go");
            std::fs::write(go, "")?;
            terminal.await_text("size 24 77")?;
            process.wait(patience())?.ok()?;
            Ok(())
        },
    },
    Case {
        name: "terminal/run-resizes",
        platforms: Any,
        section: "robustness, run",
        says: "run passes a change of its own terminal's size on.",
        run: |t| {
            let (mut terminal, process) = run(t, &["resize-watch", "50"])?;
            terminal.await_text("size ")?;
            std::thread::sleep(std::time::Duration::from_millis(200));
            terminal.resize(50, 132)?;
            terminal.await_text("resized 50 132")?;
            process.wait(patience())?.ok()?;
            Ok(())
        },
    },
    Case {
        name: "terminal/run-large-output",
        platforms: Any,
        section: "engines, run",
        says: "run loses no output of a program that writes a lot and ends at once.",
        run: |t| {
            let word = "z".repeat(60_000);
            let (mut terminal, process) = run(t, &["echo", &word, "end-of-output"])?;
            let seen = terminal.read_all();
            let count = seen.chars().filter(|c| *c == 'z').count();
            same!(count, 60_000, "the number of characters");
            check!(seen.contains("end-of-output"), "the end is missing");
            process.wait(patience())?.ok()?;
            Ok(())
        },
    },
];

fn create<'t>(t: &'t Test<'t>, bundle: Bundle) -> Outcome<(Container<'t>, Terminal)> {
    let path = socket_path(&t.dir)?;
    let _ = std::fs::remove_file(&path);
    let socket = ConsoleSocket::listen(path)?;
    let bundle = bundle.set("/process/terminal", json!(true));
    let c = t.create_with(&bundle, &["--console-socket", socket.argument()], |call| {
        call
    })?;
    let terminal = socket.receive()?;
    Ok((c, terminal))
}

/// The report of a program on a terminal, which goes to a file: the terminal
/// would change its ends of lines.
fn report(t: &Test, bundle: Bundle) -> Outcome<Value> {
    let bundle = bundle
        .directory("/out")?
        .acts(&["report", "/out/report", ";", "echo", "done"]);
    std::fs::set_permissions(
        bundle.root().join("out"),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )?;
    let file = bundle.root().join("out/report");
    let (c, mut terminal) = create(t, bundle)?;
    c.start()?;
    terminal.await_text("done")?;
    c.await_status("stopped")?;
    c.delete()?;
    Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
}

/// The runtime's `run` on a terminal of 24 rows and 77 columns.
fn run(t: &Test, acts: &[&str]) -> Outcome<(Terminal, crate::harness::Process)> {
    let bundle = t.bundle()?.acts(acts).set("/process/terminal", json!(true));
    bundle.write()?;
    let (terminal, slave) = Terminal::pair(24, 77)?;
    let dir = bundle.dir.to_string_lossy();
    let process = t
        .call(&["run", "--bundle", &dir, &t.id()])
        .terminal(slave)
        .spawn()?;
    Ok((terminal, process))
}
