//! Datasets of ZFS that a container administers.

use serde_json::json;

use super::support::{Case, Outcome, Test, sh, skipped};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "datasets/delegated",
        run: delegated,
    },
    Case {
        name: "datasets/sigkill",
        run: sigkill,
    },
    Case {
        name: "datasets/refused",
        run: refused,
    },
];

/// Does something while the host has a pool with two jailed datasets.
fn with_pool(act: impl FnOnce() -> Outcome) -> Outcome {
    if sh("kldload -n zfs && test -x /sbin/zpool && test -c /dev/zfs").is_err() {
        return skipped("there is no ZFS here");
    }
    let disk = sh("mdconfig -a -t malloc -s 128m")?;
    let made = sh(&format!(
        "zpool create -m none brigpool /dev/{disk} && zfs create -o jailed=on brigpool/own && \
         zfs create -o jailed=on brigpool/other"
    ));
    let outcome = made.and_then(|_| act());
    let gone = sh("zpool destroy -f brigpool");
    sh(&format!("mdconfig -d -u {disk}"))?;
    outcome.and(gone.map(drop))
}

fn bundle(t: &Test, name: &str, dataset: &str) -> Outcome<std::path::PathBuf> {
    let bundle = t.sleeping(name, |c| {
        c["process"]["env"] = json!(["PATH=/bin:/sbin"]);
        c["freebsd"] = json!({
            "devices": [{"path": "zfs"}],
            "jail": {"enforceStatfs": 1, "allow": {"mount": ["zfs"]}}
        });
        c["annotations"] = json!({"org.freebsd.jail.zfs.dataset": dataset});
    })?;
    t.add_program(&bundle, "/sbin/zfs")?;
    Ok(bundle)
}

/// Whether the host may mount the dataset, which it may not while a jail has
/// it.
fn is_free(dataset: &str) -> bool {
    sh(&format!(
        "zfs set jailed=off {dataset} && zfs set jailed=on {dataset}"
    ))
    .is_ok()
}

/// It is seen and mounted inside, with what the container makes below it, and
/// the others are not; after delete the host has it again.
fn delegated(t: &Test) -> Outcome {
    with_pool(|| {
        let own = bundle(t, "b", "brigpool/own")?;
        let plain = t.sleeping("p", |c| {
            c["process"]["env"] = json!(["PATH=/bin:/sbin"]);
            c["freebsd"]["devices"] = json!([{"path": "zfs"}]);
        })?;
        t.add_program(&plain, "/sbin/zfs")?;
        t.up(&own, "a")?;
        t.up(&plain, "p")?;
        let all = "zfs list -H -o name";
        let seen = t.ok(&["exec", "a", "sh", "-c", all])?;
        let seen: Vec<&str> = seen.lines().collect();
        check!(seen == ["brigpool", "brigpool/own"], "inside: {seen:?}");
        let other = t.ok(&["exec", "p", "sh", "-c", all])?;
        check!(!other.contains("brigpool"), "in another one: {other}");
        let script = "mkdir -p /data && zfs create -o mountpoint=/data brigpool/own/data && \
            echo kept > /data/file && mount -t zfs";
        let said = t.ok(&["exec", "a", "sh", "-c", script])?;
        check!(said.contains("brigpool/own/data"), "{said}");
        t.down("a")?;
        t.down("p")?;
        check!(sh("mount -p -t zfs")?.is_empty(), "it is mounted still");
        t.up(&own, "a")?;
        let script = "zfs mount brigpool/own/data && cat /data/file";
        let said = t.ok(&["exec", "a", "sh", "-c", script])?;
        check!(said == "kept", "{said}");
        t.down("a")?;
        check!(is_free("brigpool/own"), "the host has it not");
        Ok(())
    })
}

/// A create that was killed leaves no dataset with a jail.
fn sigkill(t: &Test) -> Outcome {
    with_pool(|| {
        let bundle = bundle(t, "b", "brigpool/own,brigpool/other")?;
        let path = bundle.to_string_lossy();
        for step in 0..8 {
            t.killed_after(&["create", "-b", &path, "a"], 30 + 40 * step)?;
            t.down("a")?;
            for dataset in ["brigpool/own", "brigpool/other"] {
                check!(is_free(dataset), "killed at step {step}: {dataset}");
            }
        }
        Ok(())
    })
}

/// One that is not there is told before anything is done.
fn refused(t: &Test) -> Outcome {
    with_pool(|| {
        let bundle = bundle(t, "b", "brigpool/own,brigpool/none")?;
        let words = ["brigpool/none", "there is no such dataset"];
        t.refused(&["create", "-b", &bundle.to_string_lossy(), "a"], &words)?;
        check!(is_free("brigpool/own"), "the other one is taken");
        Ok(())
    })
}
