//! Devices of a container: freebsd.devices, the options of devfs, and the
//! rulesets that brig makes for them.

use std::fs;

use serde_json::{Value, json};

use super::support::{Case, Outcome, Test, host, jls, sh};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "devices/listed",
        run: listed,
    },
    Case {
        name: "devices/rule-words",
        run: rule_words,
    },
    Case {
        name: "devices/shared",
        run: shared,
    },
    Case {
        name: "devices/that-appear-later",
        run: later,
    },
    Case {
        name: "devices/mounted-by-the-jail",
        run: by_the_jail,
    },
    Case {
        name: "devices/sigkill",
        run: sigkill,
    },
    Case {
        name: "devices/gc-frees",
        run: gc_frees,
    },
    Case {
        name: "devices/concurrent",
        run: concurrent,
    },
    Case {
        name: "devices/foreign-ruleset",
        run: foreign,
    },
    Case {
        name: "devices/full-range",
        run: full_range,
    },
    Case {
        name: "devices/ruleset-missing",
        run: missing,
    },
    Case {
        name: "devices/after-a-reboot",
        run: after_reboot,
    },
    Case {
        name: "devices/wrong-policy",
        run: wrong_policy,
    },
];

/// The numbers that brig uses unless a policy says otherwise.
fn rulesets() -> Outcome<Vec<String>> {
    let all = sh("devfs rule showsets")?;
    let own = |n: &&str| n.parse().is_ok_and(|n: u32| (40_000..50_000).contains(&n));
    Ok(all
        .lines()
        .map(str::trim)
        .filter(own)
        .map(String::from)
        .collect())
}

fn with(devices: Value) -> impl FnOnce(&mut Value) {
    move |config| config["freebsd"]["devices"] = devices
}

fn rule(words: &str) -> impl FnOnce(&mut Value) {
    let option = format!("rule={words}");
    move |config| config["mounts"][0]["options"] = json!(["ruleset=4", option])
}

/// freebsd.devices: the device is there with its mode, the rest stays hidden,
/// and the ruleset goes with the container.
fn listed(t: &Test) -> Outcome {
    let bundle = t.sleeping(
        "b",
        with(json!([{"path": "mem", "mode": 0o400}, {"path": "led"}])),
    )?;
    t.up(&bundle, "a")?;
    let said = t.ok(&["exec", "a", "ls", "-l", "/dev/mem", "/dev/null"])?;
    check!(said.contains("cr--------"), "{said}");
    let all = t.ok(&["exec", "a", "ls", "/dev"])?;
    check!(!all.contains("kmem"), "{all}");
    check!(rulesets()? == ["40000"], "{:?}", rulesets()?);
    let shown = sh("devfs rule -s 40000 show")?;
    check!(shown.contains("path mem unhide mode 400"), "{shown}");
    t.down("a")?;
    check!(rulesets()?.is_empty(), "left: {:?}", rulesets()?);
    // The host's own are as they were.
    let four = sh("devfs rule -s 4 show")?;
    check!(
        four.contains("include 1") && !four.contains("mem"),
        "{four}"
    );
    Ok(())
}

/// rule=…: path, unhide, hide, mode, user, group and include, in order.
fn rule_words(t: &Test) -> Outcome {
    let words = [
        "path kmem unhide mode 0604 user 80 group 80",
        "path null hide",
        "include 3",
    ];
    let options: Vec<String> = words.iter().map(|w| format!("rule={w}")).collect();
    let bundle = t.sleeping("b", |c| {
        let all = [vec!["ruleset=4".to_owned()], options].concat();
        c["mounts"][0]["options"] = json!(all);
    })?;
    t.up(&bundle, "a")?;
    let said = t.ok(&["exec", "a", "ls", "-l", "/dev"])?;
    let line = said
        .lines()
        .find(|l| l.ends_with(" kmem"))
        .unwrap_or_default();
    check!(line.starts_with("crw----r--"), "{said}");
    check!(line.contains(" 80 www "), "{line}");
    check!(!said.contains(" null\n"), "{said}");
    t.down("a")
}

/// Containers with the same rules over the same ruleset share one number,
/// others have their own, and a number is free when its last user goes.
fn shared(t: &Test) -> Outcome {
    let one = t.sleeping("one", rule("path mem unhide"))?;
    let two = t.sleeping("two", rule("path mem unhide"))?;
    let other = t.sleeping("other", rule("path mem unhide mode 0444"))?;
    let below = t.sleeping("below", |c| {
        c["mounts"][0]["options"] = json!(["ruleset=5", "rule=path mem unhide"]);
    })?;
    for (bundle, id, wanted) in [
        (&one, "a", 1),
        (&two, "b", 1),
        (&other, "c", 2),
        (&below, "d", 3),
    ] {
        t.up(bundle, id)?;
        check!(rulesets()?.len() == wanted, "with {id}: {:?}", rulesets()?);
    }
    t.down("a")?;
    check!(rulesets()?.len() == 3, "without a: {:?}", rulesets()?);
    let said = t.ok(&["exec", "b", "ls", "/dev"])?;
    check!(said.contains("mem") && !said.contains("kmem"), "{said}");
    t.down("b")?;
    check!(
        rulesets()? == ["40001", "40002"],
        "without b: {:?}",
        rulesets()?
    );
    // The lowest free number is taken again.
    t.up(&one, "a")?;
    check!(
        rulesets()? == ["40000", "40001", "40002"],
        "with a: {:?}",
        rulesets()?
    );
    for id in ["c", "d", "a"] {
        t.down(id)?;
    }
    check!(rulesets()?.is_empty(), "left: {:?}", rulesets()?);
    Ok(())
}

/// A device that comes while the container runs is hidden, or shown, as those
/// that were there: mdconfig(8) makes one.
fn later(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", rule("path md77 unhide mode 0640"))?;
    t.up(&bundle, "a")?;
    sh("mdconfig -a -t swap -s 1m -u 77 && mdconfig -a -t swap -s 1m -u 78")?;
    let said = t.ok(&["exec", "a", "sh", "-c", "ls -l /dev/md*"]);
    sh("mdconfig -d -u 77; mdconfig -d -u 78")?;
    let said = said?;
    check!(
        said.contains("crw-r-----") && said.contains("md77"),
        "{said}"
    );
    check!(!said.contains("md78"), "{said}");
    let all = t.ok(&["exec", "a", "ls", "/dev"])?;
    check!(!all.contains("md77"), "{all}");
    t.down("a")
}

/// What a jail mounts itself has the same devices, and no others.
fn by_the_jail(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        c["freebsd"] = json!({
            "devices": [{"path": "mem"}],
            "jail": {"enforceStatfs": 1, "allow": {"mount": ["devfs"]}}
        });
    })?;
    t.up(&bundle, "a")?;
    let number = jls("a", "devfs_ruleset")?;
    check!(
        rulesets()? == [number.as_str()],
        "{number}, {:?}",
        rulesets()?
    );
    let script = "mkdir /own && mount -t devfs devfs /own && ls /own";
    let said = t.ok(&["exec", "a", "sh", "-c", script])?;
    check!(said.contains("mem") && said.contains("null"), "{said}");
    check!(!said.contains("kmem"), "{said}");
    t.down("a")?;
    check!(rulesets()?.is_empty(), "left: {:?}", rulesets()?);

    // Without devices of its own it has the policy's, and an annotation wins.
    let plain = t.sleeping("plain", |c| {
        c["freebsd"]["jail"] = json!({"enforceStatfs": 1, "allow": {"mount": ["devfs"]}});
    })?;
    t.up(&plain, "p")?;
    check!(
        jls("p", "devfs_ruleset")? == "4",
        "{}",
        jls("p", "devfs_ruleset")?
    );
    t.down("p")?;
    let annotated = t.sleeping("annotated", |c| {
        c["annotations"] = json!({
            "org.freebsd.jail.devfs_ruleset": "5",
            "org.freebsd.jail.enforce_statfs": "1",
            "org.freebsd.jail.allow.mount": "true",
            "org.freebsd.jail.allow.mount.devfs": "true"
        });
        c["freebsd"]["devices"] = json!([{"path": "mem"}]);
    })?;
    t.up(&annotated, "n")?;
    check!(
        jls("n", "devfs_ruleset")? == "5",
        "{}",
        jls("n", "devfs_ruleset")?
    );
    t.down("n")
}

/// Killed at any point, by create or by delete, brig leaves nothing that
/// `delete --force` does not take away.
fn sigkill(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", rule("path mem unhide"))?;
    let path = bundle.to_string_lossy();
    t.up(&bundle, "a")?;
    t.down("a")?;
    let before = host();
    for step in 0..24 {
        t.killed_after(&["create", "-b", &path, "a"], 10 + 15 * step)?;
        t.down("a")?;
        let left: Vec<_> = host().difference(&before).cloned().collect();
        check!(left.is_empty(), "create killed at step {step}: {left:?}");
    }
    for step in 0..12 {
        t.up(&bundle, "a")?;
        t.killed_after(&["delete", "--force", "a"], 5 + 12 * step)?;
        t.down("a")?;
        let left: Vec<_> = host().difference(&before).cloned().collect();
        check!(left.is_empty(), "delete killed at step {step}: {left:?}");
    }
    Ok(())
}

/// A ruleset that a killed runtime made and nobody came to use goes with the
/// next container that has rules, and with gc of what was killed.
fn gc_frees(t: &Test) -> Outcome {
    // As a create leaves it that dies between two rules.
    sh("devfs rule -s 40000 add 1 path //brig/0123456789abcdef && \
        devfs rule -s 40000 add 2 hide")?;
    let bundle = t.sleeping("b", rule("path mem unhide"))?;
    t.up(&bundle, "a")?;
    let shown = sh("devfs rule -s 40000 show")?;
    check!(shown.contains("path mem unhide"), "{shown}");
    t.down("a")?;
    check!(rulesets()?.is_empty(), "left: {:?}", rulesets()?);

    // The state file as a killed create leaves it: gc takes the container.
    t.up(&bundle, "a")?;
    let file = t.state().join("a/state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&file)?)?;
    state["init"] = Value::Null;
    fs::write(&file, state.to_string())?;
    let said = t.ok(&["gc"])?;
    check!(said.contains("a: its create was killed"), "{said}");
    check!(rulesets()?.is_empty(), "left: {:?}", rulesets()?);
    Ok(())
}

/// Creates and deletes at once: no number is used twice, none is left.
fn concurrent(t: &Test) -> Outcome {
    let mut bundles = Vec::new();
    for i in 0..6 {
        // Three kinds of rules.
        let words = format!("path mem unhide mode 04{}0", i % 3);
        bundles.push(t.sleeping(&format!("b{i}"), rule(&words))?);
    }
    let mut children = Vec::new();
    for (i, bundle) in bundles.iter().enumerate() {
        let (path, id) = (bundle.to_string_lossy().into_owned(), format!("c{i}"));
        children.push(t.spawn(&["run", "-d", "-b", &path, &id])?);
    }
    for mut child in children {
        check!(
            child.wait()?.success(),
            "{}",
            fs::read_to_string(t.dir.join(".log"))?
        );
    }
    check!(rulesets()?.len() == 3, "{:?}", rulesets()?);
    for i in 0..6 {
        let said = t.ok(&["exec", &format!("c{i}"), "ls", "-l", "/dev/mem"])?;
        let wanted = ["cr--------", "cr----x---", "cr---w----"][i % 3];
        check!(said.starts_with(wanted), "c{i}: {said}");
    }
    let mut children = Vec::new();
    for i in [3, 0, 4, 1, 5, 2] {
        children.push(t.spawn(&["delete", "--force", &format!("c{i}")])?);
    }
    for mut child in children {
        check!(
            child.wait()?.success(),
            "{}",
            fs::read_to_string(t.dir.join(".log"))?
        );
    }
    check!(rulesets()?.is_empty(), "left: {:?}", rulesets()?);
    Ok(())
}

/// A ruleset in the range that someone else made, and one that someone else's
/// mount or jail names, are never touched.
fn foreign(t: &Test) -> Outcome {
    let own = t.dir.join("own");
    fs::create_dir(&own)?;
    sh(&format!(
        "devfs rule -s 40000 add path mem unhide && \
         mount -t devfs -o ruleset=40001 devfs {} && \
         jail -c name=brigother path=/ persist devfs_ruleset=40002",
        own.display()
    ))?;
    let before = sh("devfs rule -s 40000 show")?;
    let bundle = t.sleeping("b", rule("path mem unhide"))?;
    let run = || -> Outcome {
        t.up(&bundle, "a")?;
        let shown = sh("devfs rule -s 40003 show")?;
        check!(shown.contains("path mem unhide"), "{shown}");
        t.down("a")?;
        let all = rulesets()?;
        check!(all == ["40000", "40001"], "{all:?}");
        check!(
            sh("devfs rule -s 40000 show")? == before,
            "40000 was changed"
        );
        // A mount of the host's keeps a ruleset of brig's alive.
        t.up(&bundle, "a")?;
        let own = t.dir.join("second");
        fs::create_dir(&own)?;
        let own = own.display();
        sh(&format!("mount -t devfs -o ruleset=40003 devfs {own}"))?;
        t.down("a")?;
        let all = rulesets();
        sh(&format!("umount {own}"))?;
        check!(
            all?.contains(&"40003".to_owned()),
            "40003 was taken from a mount"
        );
        t.up(&bundle, "a")?;
        t.down("a")?;
        let all = rulesets()?;
        check!(all == ["40000", "40001"], "{all:?}");
        Ok(())
    };
    let outcome = run();
    sh(&format!(
        "jail -r brigother; umount {}; devfs rule -s 40000 delset",
        own.display()
    ))?;
    outcome
}

/// A full range is an error that names the policy's key.
fn full_range(t: &Test) -> Outcome {
    let t = &t.under(t.policy_with(json!({"devfsRange": [300, 301]}))?);
    let bundles = [
        t.sleeping("a", rule("path mem unhide mode 0400"))?,
        t.sleeping("b", rule("path mem unhide mode 0440"))?,
        t.sleeping("c", rule("path mem unhide mode 0444"))?,
    ];
    t.up(&bundles[0], "a")?;
    t.up(&bundles[1], "b")?;
    let path = bundles[2].to_string_lossy();
    let words = ["all numbers from 300 to 301 are in use", "devfsRange"];
    t.refused(&["create", "-b", &path, "c"], &words)?;
    t.down("a")?;
    t.up(&bundles[2], "c")?;
    t.down("b")?;
    t.down("c")
}

/// A host without ruleset 4, or with an empty one: an error with its remedy,
/// and never an open /dev.
fn missing(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |_| {})?;
    let ruled = t.sleeping("r", rule("path mem unhide"))?;
    let by_jail = t.sleeping("j", |c| {
        c["mounts"] = json!([]);
        c["freebsd"]["jail"] = json!({"enforceStatfs": 1, "allow": {"mount": ["devfs"]}});
    })?;
    sh("devfs rule -s 4 show >/tmp/four && devfs rule -s 4 delset")?;
    let run = || -> Outcome {
        for bundle in [&bundle, &ruled, &by_jail] {
            let path = bundle.to_string_lossy();
            let words = ["no devfs ruleset 4", "service devfs restart"];
            t.refused(&["create", "-b", &path, "a"], &words)?;
        }
        // Empty: a mount keeps the number alive.
        let own = t.dir.join("own");
        fs::create_dir(&own)?;
        sh(&format!(
            "mount -t devfs -o ruleset=4 devfs {}",
            own.display()
        ))?;
        let path = bundle.to_string_lossy();
        let refused = t.refused(&["create", "-b", &path, "a"], &["no devfs ruleset 4"]);
        sh(&format!("umount {}", own.display()))?;
        refused.map(drop)
    };
    let outcome = run();
    sh("devfs rule -s 4 add - </tmp/four && rm /tmp/four")?;
    outcome?;
    let other = t.sleeping("other", rule("include 77"))?;
    let path = other.to_string_lossy();
    t.refused(&["create", "-b", &path, "a"], &["no devfs ruleset 77"])
        .map(drop)
}

/// After a reboot the rulesets are gone, and their numbers may be someone
/// else's: what is left of the container goes, and nothing else.
fn after_reboot(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", rule("path mem unhide"))?;
    t.up(&bundle, "a")?;
    // As a reboot would: no jail, no mounts, no rulesets, another boot's id.
    sh(&format!(
        "jail -r a && umount {0}/rootfs/dev && devfs rule -s 40000 delset && \
         devfs rule -s 40000 add path kmem hide",
        bundle.display()
    ))?;
    let file = t.state().join("a/state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&file)?)?;
    state["boot"] = json!("another");
    fs::write(&file, state.to_string())?;
    let said = t.ok(&["gc"]);
    let shown = sh("devfs rule -s 40000 show");
    sh("devfs rule -s 40000 delset")?;
    check!(said?.contains("rebooted"), "gc does not see the reboot");
    check!(
        shown?.contains("kmem hide"),
        "a foreign ruleset was touched"
    );
    check!(!t.state().join("a").exists(), "the state is there");
    Ok(())
}

/// A policy that cannot be meant.
fn wrong_policy(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |_| {})?;
    let path = bundle.to_string_lossy();
    for (policy, word) in [
        (json!({"devfsRange": [0, 5]}), "devfsRange"),
        (json!({"devfsRange": [10, 5]}), "devfsRange"),
        (json!({"devfsRange": [10, 70000]}), "devfsRange"),
        (json!({"devfsRange": [1, 5]}), "devfsRuleset"),
        (json!({"devfsRange": "4"}), "policy"),
        (json!({"devfsRanges": [1, 5]}), "devfsRanges"),
    ] {
        let t = t.under(t.policy_with(policy)?);
        t.refused(&["create", "-b", &path, "a"], &[word])?;
    }
    Ok(())
}
