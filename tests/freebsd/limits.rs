//! Limits, their change and the figures.

use std::process::Stdio;

use serde_json::{Value, json};

use super::support::{Case, Outcome, Test, sh, until};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "limits/update",
        run: update,
    },
    Case {
        name: "limits/statistics",
        run: statistics,
    },
    Case {
        name: "limits/table",
        run: table,
    },
];

fn rules() -> Outcome<String> {
    sh("rctl | sort")
}

/// Limits of a configuration, changed while the container runs, lifted, and
/// gone at the end.
fn update(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        c["linux"]["resources"] = json!({
            "memory": {"limit": 67_108_864, "swap": 134_217_728},
            "pids": {"limit": 20},
            "cpu": {"quota": 50_000, "period": 100_000, "cpus": "0", "shares": 512},
            "blockIO": {"throttleReadBpsDevice": [{"major": 0, "minor": 90, "rate": 1_048_576}]}
        });
        c["annotations"] = json!({"org.freebsd.rctl.readbps": "throttle:10m",
            "org.freebsd.rctl.nthr": "deny:200/process"});
    })?;
    let path = bundle.to_string_lossy().into_owned();
    let output = t.output(&["run", "-d", "-b", &path, "lim"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for word in [
        "linux.resources.cpu.shares is ignored",
        "linux.resources.blockIO is ignored",
    ] {
        check!(output.status.success() && said.contains(word), "{said}");
    }
    let all = rules()?;
    let expected = "jail:lim:maxproc:deny=20\njail:lim:memoryuse:deny=67108864\n\
        jail:lim:nthr:deny=200/process\njail:lim:pcpu:deny=50\njail:lim:readbps:throttle=10485760\n\
        jail:lim:swapuse:deny=134217728";
    check!(all == expected, "{all}");
    let cpus = sh("cpuset -g -j $(jls -j lim jid)")?;
    check!(cpus.contains("mask: 0") && !cpus.contains("0, 1"), "{cpus}");
    let new = t.dir.join("resources");
    std::fs::write(
        &new,
        json!({"memory": {"limit": -1, "swap": 33_554_432}, "pids": {"limit": 8},
            "cpu": {"quota": 150_000, "period": 100_000, "cpus": "0-1"}})
        .to_string(),
    )?;
    t.ok(&["update", "--resources", &new.to_string_lossy(), "lim"])?;
    let all = rules()?;
    let expected = "jail:lim:maxproc:deny=8\njail:lim:nthr:deny=200/process\njail:lim:pcpu:deny=150\n\
        jail:lim:readbps:throttle=10485760\njail:lim:swapuse:deny=33554432";
    check!(all == expected, "{all}");
    let cpus = sh("cpuset -g -j $(jls -j lim jid)")?;
    check!(cpus.contains("mask: 0, 1"), "{cpus}");
    let script = "i=0; while test $i -lt 12; do sleep 5 & i=$((i+1)); done";
    let output = t.output(&["exec", "lim", "sh", "-c", script])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    check!(said.contains("fork"), "12 processes below 8: {said}");
    t.down("lim")
}

/// What `events --stats` tells agrees with the kernel, and processor time is
/// finer than a second.
fn statistics(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        c["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 20}});
    })?;
    t.up(&bundle, "st")?;
    let read = || -> Outcome<Value> {
        let said = t.ok(&["events", "--stats", "st"])?;
        Ok(serde_json::from_str::<Value>(&said)?["data"].clone())
    };
    let before = read()?;
    check!(before["pids"]["current"] == json!(1), "{before}");
    check!(before["pids"]["limit"] == json!(20), "{before}");
    check!(
        before["memory"]["usage"]["limit"] == json!(67_108_864),
        "{before}"
    );
    let used = |data: &Value| data["cpu"]["usage"]["total"].as_u64().unwrap_or(0);
    let mut burning = t
        .command(&["exec", "st", "sh", "-c", "while :; do :; done"])
        .stdout(Stdio::null())
        .spawn()?;
    let (mut last, mut seen) = (used(&before), std::collections::BTreeSet::new());
    until("the processor time grows in parts of a second", || {
        let now = read().map(|data| used(&data)).unwrap_or(0);
        let grows = now >= last;
        last = now;
        seen.insert(now % 1_000_000_000);
        grows && seen.len() > 4 && now > 100_000_000
    })?;
    let data = read()?;
    check!(data["pids"]["current"] == json!(2), "{data}");
    check!(
        data["memory"]["usage"]["usage"].as_u64().unwrap_or(0) > 0,
        "{data}"
    );
    let user = data["cpu"]["usage"]["user"].as_u64().unwrap_or(0);
    check!(user > 0 && user <= used(&data) + 50_000_000, "{data}");
    until("the jail's account has a second", || {
        read().is_ok_and(|data| used(&data) > 1_500_000_000)
    })?;
    t.ok(&["kill", "--all", "st", "KILL"])?;
    burning.wait()?;
    t.down("st")?;
    // The next of that id begins with nothing.
    t.up(&bundle, "st")?;
    let data = read()?;
    check!(used(&data) < 1_000_000_000, "{data}");
    t.down("st")
}

/// exec.fib: the process uses another routing table; one that is missing is
/// refused.
fn table(t: &Test) -> Outcome {
    sh("test $(sysctl -n net.fibs) -gt 1 || sysctl net.fibs=2")?;
    let with = |fib: &str| {
        let fib = fib.to_owned();
        move |c: &mut Value| c["annotations"] = json!({"org.freebsd.jail.exec.fib": fib})
    };
    let bundle = t.bundle("b", &["sysctl", "-n", "net.my_fibnum"], with("1"))?;
    let path = bundle.to_string_lossy().into_owned();
    let said = t.ok(&["run", "-b", &path, "a"])?;
    check!(said == "1", "{said}");
    t.down("a")?;
    t.bundle("b", &["sh"], with("200"))?;
    t.refused(&["create", "-b", &path, "a"], &["exec.fib", "EINVAL"])
        .map(drop)
}
