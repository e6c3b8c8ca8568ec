//! Holds any OCI runtime to the specification and to what engines rely on, by
//! its command line alone.

mod broken;
mod cases;
mod harness;
mod mutants;
mod probe;
mod self_test;
mod sentences;
mod sys;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use harness::print::{Format, Printer};
use harness::runner::Options;
use harness::test::Suite;
use harness::{Case, reaper, runner};
use serde_json::json;

const USAGE: &str = "\
usage: runtime-tests --runtime PATH [--runtime-arg ARG]... [--filter PATTERN]... [--skip PATTERN]...
                     [--format human|tap|junit|json] [--jobs N]
                     [--patience SECONDS] [--keep] [--busy-host]
       runtime-tests --list [--filter PATTERN]... [--format human|json]
       runtime-tests --self-test --runtime PATH [--filter PATTERN]... [--jobs N]
       runtime-tests --coverage

Runs every case that applies to this system against the runtime at PATH and
ends with the line `N passed, N failed, N skipped`; the exit status is 1 when a
case failed. Must be run as root.

  --runtime PATH      the runtime: a path, or a name to find in PATH
  --runtime-arg ARG   an argument to put before all others (repeatable)
  --filter PATTERN    run the cases whose name has PATTERN in it, or fits it
                      as a whole when it has a * in it, or whose group is
                      PATTERN (repeatable)
  --skip PATTERN      leave these out (repeatable)
  --format FORMAT     form of the result
  --jobs N            how many cases run at once
  --patience SECONDS  how long a case waits for what should happen (30)
  --keep              leave bundles and outputs behind, below $TMPDIR or /tmp
  --busy-host         do not compare the host as a whole before and after,
                      because others change it meanwhile
  --list              print a table: name, group, systems, section, sentence;
                      a case that checks several sentences has several lines
  --self-test         break the runtime at PATH in one way after the other, and
                      tell which cases never notice anything
  --coverage          print COVERAGE.md: the sentences that have no case
";

struct Arguments {
    runtime: Option<PathBuf>,
    runtime_arguments: Vec<OsString>,
    filters: Vec<String>,
    skips: Vec<String>,
    format: Format,
    jobs: usize,
    keep: bool,
    busy_host: bool,
    list: bool,
    self_test: bool,
    coverage: bool,
}

fn main() -> ExitCode {
    if probe::is_wanted() {
        probe::main();
    }
    if broken::is_wanted() {
        broken::main();
    }
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("runtime-tests: {text}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, String> {
    let Some(arguments) = parse()? else {
        return Ok(true);
    };
    if arguments.coverage {
        print!("{}", sentences::coverage());
        return Ok(true);
    }
    let wanted = |case: &&Case| {
        let fits = |pattern: &String| fits(pattern, case.name) || pattern == case.group();
        (arguments.filters.is_empty() || arguments.filters.iter().any(fits))
            && !arguments.skips.iter().any(fits)
    };
    let chosen: Vec<&'static Case> = cases::all().filter(wanted).collect();
    if arguments.list {
        list(&chosen, arguments.format);
        return Ok(true);
    }
    let chosen: Vec<_> = chosen
        .into_iter()
        .filter(|case| case.platforms.here())
        .collect();
    let runtime = arguments
        .runtime
        .ok_or("--runtime is missing; see --help")?;
    let runtime = find(&runtime)?;
    if !nix::unistd::geteuid().is_root() {
        return Err("must be run as root".into());
    }
    if chosen.is_empty() {
        return Err("no case fits the filter".into());
    }
    // Whatever mask the caller has, the containers' users must get at the
    // root file systems.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let temporary = std::env::temp_dir();
    let directory = temporary.join(format!("runtime-tests.{}", std::process::id()));
    let probe = directory.join("probe");
    prepare(&directory, &probe).map_err(|e| format!("{}: {e}", directory.display()))?;
    sys::adopt_orphans().map_err(|e| format!("cannot adopt orphans: {e}"))?;
    reaper::start();
    let suite = Suite {
        runtime,
        arguments: arguments.runtime_arguments,
        directory: directory.clone(),
        probe,
        keep: arguments.keep,
    };
    let options = Options {
        jobs: arguments.jobs,
        busy_host: arguments.busy_host,
    };
    if arguments.self_test {
        let all_noticed = self_test::run(&suite, &chosen, arguments.jobs);
        clear(&suite);
        return Ok(all_noticed);
    }
    let passed = runner::run(
        &suite,
        &chosen,
        options,
        &mut Printer::new(arguments.format),
    );
    clear(&suite);
    Ok(passed)
}

fn clear(suite: &Suite) {
    if !suite.keep && !harness::host::has_mounts_below(&suite.directory) {
        let _ = fs::remove_dir_all(&suite.directory);
    }
}

/// Prints the table of the cases.
fn list(chosen: &[&'static Case], format: Format) {
    let mut records = Vec::new();
    for case in chosen {
        for (section, sentence) in case.citations() {
            if format == Format::Json {
                continue;
            }
            let (name, group, systems) = (case.name, case.group(), case.platforms.name());
            println!("{name}\t{group}\t{systems}\t{section}\t{sentence}");
        }
        let citations: Vec<_> = case
            .citations()
            .into_iter()
            .map(|(section, sentence)| json!({"section": section, "sentence": sentence}))
            .collect();
        records.push(json!({
            "name": case.name, "group": case.group(), "platforms": case.platforms.name(),
            "section": case.section, "says": case.says, "sentences": citations,
        }));
    }
    if format == Format::Json {
        println!("{:#}", serde_json::Value::from(records));
    }
}

/// Copies this program, which is also the contained one.
fn prepare(directory: &Path, probe: &Path) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    let program = std::env::current_exe()?;
    if needs_interpreter(&fs::read(&program)?) {
        return Err(
            "this program is not statically linked, so it cannot run in a container".into(),
        );
    }
    fs::copy(program, probe)?;
    fs::set_permissions(probe, fs::Permissions::from_mode(0o755))?;
    // The same program again, by the name under which it is a broken runtime.
    fs::copy(probe, probe.with_file_name("broken"))?;
    Ok(())
}

/// Whether a 64-bit little-endian ELF program names a dynamic loader.
fn needs_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = elf.get(at..at + length)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    let headers = || {
        Some((
            number(32, 8)? as usize,
            number(54, 2)? as usize,
            number(56, 2)? as usize,
        ))
    };
    let Some((start, size, count)) = headers() else {
        return false;
    };
    (0..count).any(|i| number(start + i * size, 4) == Some(PT_INTERP))
}

fn find(runtime: &Path) -> Result<PathBuf, String> {
    if runtime.components().count() > 1 {
        return fs::canonicalize(runtime).map_err(|e| format!("{}: {e}", runtime.display()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|directory| directory.join(runtime));
    candidates
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{} is not in PATH", runtime.display()))
}

fn parse() -> Result<Option<Arguments>, String> {
    let mut all = Arguments {
        runtime: None,
        runtime_arguments: Vec::new(),
        filters: Vec::new(),
        skips: Vec::new(),
        format: Format::Human,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        keep: false,
        busy_host: false,
        list: false,
        self_test: false,
        coverage: false,
    };
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        let word = word.to_string_lossy().into_owned();
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--runtime" => all.runtime = Some(value()?.into()),
            "--runtime-arg" => all.runtime_arguments.push(value()?),
            "--filter" => all.filters.push(value()?.to_string_lossy().into_owned()),
            "--skip" => all.skips.push(value()?.to_string_lossy().into_owned()),
            "--format" => {
                let name = value()?.to_string_lossy().into_owned();
                all.format = Format::named(&name).ok_or_else(|| {
                    format!("--format: {name:?} is not human, tap, junit or json")
                })?;
            }
            "--jobs" => {
                let text = value()?.to_string_lossy().into_owned();
                let jobs = text.parse().ok().filter(|jobs| *jobs > 0);
                all.jobs =
                    jobs.ok_or_else(|| format!("--jobs: {text:?} is not a number above 0"))?;
            }
            "--patience" => {
                let text = value()?.to_string_lossy().into_owned();
                let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
                harness::test::set_patience(
                    seconds
                        .ok_or_else(|| format!("--patience: {text:?} is not a number above 0"))?,
                );
            }
            "--keep" => all.keep = true,
            "--busy-host" => all.busy_host = true,
            "--list" => all.list = true,
            "--self-test" => all.self_test = true,
            "--coverage" => all.coverage = true,
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(None);
            }
            other => return Err(format!("{other:?} is unknown; see --help")),
        }
    }
    Ok(Some(all))
}

/// Whether a name fits a pattern: `*` stands for anything, and a pattern
/// without one may stand anywhere in the name.
fn fits(pattern: &str, name: &str) -> bool {
    let parts: Vec<&str> = pattern.split('*').collect();
    let [first, middle @ .., last] = parts.as_slice() else {
        return name.contains(pattern);
    };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::sentences::{By, HEADINGS, SENTENCES};
    use super::{cases, fits, mutants, needs_interpreter, self_test, sentences};

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("kill", "kill/a"),
            ("kill/*", "kill/a"),
            ("*/a", "kill/a"),
            ("k*l*a", "kill/a"),
        ] {
            assert!(fits(pattern, name), "{pattern}");
        }
        for (pattern, name) in [("kill*", "x/kill"), ("*b", "kill/a"), ("a*a", "a")] {
            assert!(!fits(pattern, name), "{pattern}");
        }
    }

    #[test]
    fn names_are_unique_and_every_case_has_its_source() {
        let mut names: Vec<_> = cases::all().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for case in cases::all() {
            assert!(
                case.name.contains('/') && !case.section.is_empty(),
                "{}",
                case.name
            );
            assert!(case.says.ends_with('.'), "{}", case.name);
        }
    }

    #[test]
    fn sections_are_known() {
        let known = |document: &str, section: &str| {
            HEADINGS
                .iter()
                .any(|(d, sections)| *d == document && sections.contains(&section))
        };
        for case in cases::all() {
            let (document, section) = case.section.split_once(", ").unwrap_or((case.section, ""));
            let ours = ["engines", "hostile", "robustness"].contains(&document);
            assert!(
                !section.is_empty() && (ours || known(document, section)),
                "{}: {}",
                case.name,
                case.section
            );
        }
        for sentence in SENTENCES {
            assert!(known(sentence.document, sentence.section), "{sentence:?}");
        }
    }

    #[test]
    fn every_sentence_has_cases_that_exist_or_a_reason() {
        for sentence in SENTENCES {
            let words = ["MUST", "SHOULD", "REQUIRED", "RECOMMENDED"];
            assert!(
                words.iter().any(|word| sentence.text.contains(word)),
                "{sentence:?}"
            );
            match sentence.by {
                By::Nothing(why) => assert!(!why.is_empty(), "{sentence:?}"),
                By::Cases(names) => {
                    assert!(!names.is_empty(), "{sentence:?}");
                    for name in names {
                        let mut all = cases::all();
                        assert!(all.any(|case| fits(name, case.name)), "{name} is no case");
                    }
                }
            }
        }
    }

    #[test]
    fn coverage_is_up_to_date() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/COVERAGE.md");
        let text = std::fs::read_to_string(file).expect("COVERAGE.md is there");
        assert!(
            text == sentences::coverage(),
            "COVERAGE.md is not what runtime-tests --coverage prints"
        );
    }

    #[test]
    fn every_case_has_a_mutant_and_every_mutant_a_case() {
        for case in cases::all() {
            let names = |mutant: &self_test::Mutant| mutant.names(case.name);
            let found = mutants::MUTANTS.iter().any(names);
            assert!(found, "nothing is broken that {} could notice", case.name);
        }
        for mutant in mutants::MUTANTS {
            for pattern in mutant.cases {
                let mut all = cases::all();
                assert!(
                    all.any(|case| fits(pattern, case.name)),
                    "{pattern} is no case"
                );
            }
        }
    }

    #[test]
    fn there_are_as_many_cases_as_promised() {
        use super::harness::Platforms::{Any, FreeBsd};
        assert!(cases::all().count() >= 250);
        let freebsd = cases::all().filter(|c| c.platforms == Any || c.platforms == FreeBsd);
        assert!(freebsd.count() >= 90);
    }

    #[test]
    fn a_loader_is_found() {
        let mut elf = vec![0_u8; 64 + 2 * 56];
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 2;
        assert!(!needs_interpreter(&elf));
        elf[64 + 56] = 3;
        assert!(needs_interpreter(&elf));
    }
}
