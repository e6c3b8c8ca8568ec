//! Runs a bundle by a runtime's command line, and says how long each command
//! took: `demo RUNTIME BUNDLE`.

use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [runtime, bundle] = arguments.as_slice() else {
        eprintln!("usage: demo RUNTIME BUNDLE");
        return ExitCode::FAILURE;
    };
    match demo(runtime, bundle) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo(runtime: &str, bundle: &str) -> Result<(), String> {
    let id = format!("demo-{}", std::process::id());
    let run = |arguments: &[&str], output: Stdio| {
        let words = arguments.join(" ");
        let begin = Instant::now();
        let status = Command::new(runtime)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .status();
        let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
        match status {
            Ok(status) if status.success() => {
                println!("$ brig {words:<48} {milliseconds:7.2} ms");
                Ok(())
            }
            Ok(status) => Err(format!("{runtime} {words}: {status}")),
            Err(error) => Err(format!("{runtime}: {error}")),
        }
    };

    // The container inherits the pipe; its end is the end of all processes
    // that hold it.
    let (mut reader, writer) = std::io::pipe().map_err(|error| format!("pipe: {error}"))?;
    run(&["create", "--bundle", bundle, &id], writer.into())?;
    let shown = run(&["start", &id], Stdio::inherit()).and_then(|()| {
        let mut output = String::new();
        reader
            .read_to_string(&mut output)
            .map_err(|error| format!("container's output: {error}"))?;
        for line in output.lines() {
            println!("    {line}");
        }
        run(&["state", &id], Stdio::null())
    });
    // Also after a failure: the demonstration leaves nothing behind.
    run(&["delete", "--force", &id], Stdio::inherit()).and(shown)
}
