//! The manual page tells every command and every flag that --help tells.

use std::process::Command;

fn help(command: Option<&str>) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_brig"))
        .args(command.iter().flat_map(|words| words.split(' ')))
        .arg("--help")
        .output()
        .expect("brig runs");
    assert!(output.status.success(), "brig {command:?} --help");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The command names of --help: the first word of each line of its list.
fn commands(help: &str) -> Vec<String> {
    let list = help.split("Commands:").nth(1).expect("a list of commands");
    let list = list.split("Options:").next().expect("text");
    let words = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    words
        .filter_map(|line| line.split_whitespace().next())
        .map(String::from)
        .collect()
}

/// The flags of --help, as `--bundle` and `-b`.
fn flags(help: &str) -> Vec<String> {
    let list = help.split("Options:").nth(1).unwrap_or_default();
    let mut flags = Vec::new();
    for line in list
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('-'))
    {
        for word in line
            .split([' ', ',', '=', '['])
            .take_while(|word| word.is_empty() || word.starts_with(['-', '<']))
        {
            if word.starts_with('-') {
                flags.push(word.to_owned());
            }
        }
    }
    flags
}

/// A flag as mdoc(7) has it, `Fl b` or `Fl -bundle`.
fn is_told(section: &str, flag: &str) -> bool {
    let wanted = format!("Fl {}", flag.strip_prefix('-').unwrap_or(flag));
    section.match_indices(&wanted).any(|(at, _)| {
        let next = section[at + wanted.len()..].chars().next();
        next.is_none_or(|c| !c.is_alphanumeric() && c != '-')
    })
}

#[test]
fn every_command_and_flag_is_in_the_manual() {
    let page = include_str!("../man/brig.8");
    let all = commands(&help(None));
    assert!(all.len() >= 17, "{all:?}");
    let mut missing = Vec::new();
    for flag in flags(&help(None)) {
        if !is_told(page, &flag) {
            missing.push(flag);
        }
    }
    for command in &all {
        // Each command has a subsection of its own.
        let Some(section) = page.split(&format!("\n.Ss brig {command}\n")).nth(1) else {
            missing.push(format!("brig {command}"));
            continue;
        };
        let section = section.split("\n.Ss ").next().expect("text");
        let section = section.split("\n.Sh ").next().expect("text");
        // Some have a page of their own.
        let name = match command.as_str() {
            "image" => "unpack",
            other => other,
        };
        let path = format!("{}/man/brig-{name}.8", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(path).unwrap_or_default();
        let mut all = vec![command.clone()];
        let text = help(Some(command));
        if text.contains("Commands:") {
            all.extend(
                commands(&text)
                    .iter()
                    .map(|inner| format!("{command} {inner}")),
            );
        }
        for command in all {
            for flag in flags(&help(Some(&command))) {
                let told = is_told(section, &flag) || is_told(&page, &flag);
                if !matches!(flag.as_str(), "-h" | "--help") && !told {
                    missing.push(format!("brig {command} {flag}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in man/brig.8: {missing:?}");
}
