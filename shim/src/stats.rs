//! `brig events --stats` as the metrics that containerd reads.

use serde_json::Value;

use crate::error::{Code, Fault, Result};
use crate::proto::{Any, cgroup1, cgroup2};

/// The metrics of the host's cgroup version; v1's where there are no cgroups.
///
/// # Errors
/// brig printed something else.
pub fn metrics(printed: &[u8]) -> Result<Any> {
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let event: Value = serde_json::from_slice(printed)
        .map_err(|error| Fault::new(Code::Unknown, format_args!("brig events: {error}")))?;
    let data = &event["data"];
    Ok(if unified {
        Any::of("io.containerd.cgroups.v2.Metrics", &version2(data))
    } else {
        Any::of("io.containerd.cgroups.v1.Metrics", &version1(data))
    })
}

/// A figure by its path; 0 where the system does not tell.
fn figure(data: &Value, path: &str) -> u64 {
    data.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn version1(data: &Value) -> cgroup1::Metrics {
    let raw = |name: &str| figure(data, &format!("/memory/raw/{name}"));
    // v1 has the figures of the hierarchy as total_NAME; elsewhere NAME is it.
    let total = |name: &str| match raw(&format!("total_{name}")) {
        0 => raw(name),
        total => total,
    };
    let entry = |kind: &str| {
        let of = |what: &str| figure(data, &format!("/memory/{kind}/{what}"));
        Some(cgroup1::MemoryEntry {
            limit: of("limit"),
            usage: of("usage"),
            max: of("max"),
            failcnt: of("failcnt"),
        })
    };
    let cache = figure(data, "/memory/cache");
    cgroup1::Metrics {
        pids: Some(pids(data)),
        cpu: Some(cgroup1::Cpu {
            usage: Some(cgroup1::CpuUsage {
                total: figure(data, "/cpu/usage/total"),
                kernel: figure(data, "/cpu/usage/kernel"),
                user: figure(data, "/cpu/usage/user"),
                per_cpu: data["cpu"]["usage"]["percpu"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_u64)
                    .collect(),
            }),
            throttling: Some(cgroup1::Throttle {
                periods: figure(data, "/cpu/throttling/periods"),
                throttled_periods: figure(data, "/cpu/throttling/throttledPeriods"),
                throttled_time: figure(data, "/cpu/throttling/throttledTime"),
            }),
        }),
        memory: Some(cgroup1::Memory {
            cache,
            rss: raw("rss"),
            pg_fault: raw("pgfault"),
            pg_maj_fault: raw("pgmajfault"),
            inactive_anon: raw("inactive_anon"),
            active_anon: raw("active_anon"),
            inactive_file: raw("inactive_file"),
            active_file: raw("active_file"),
            hierarchical_memory_limit: raw("hierarchical_memory_limit"),
            total_cache: total("cache").max(cache),
            total_rss: total("rss"),
            total_inactive_file: total("inactive_file"),
            usage: entry("usage"),
            swap: entry("swap"),
            kernel: entry("kernel"),
        }),
        blkio: Some(cgroup1::BlkIo {
            io_service_bytes_recursive: block_io(data, "ioServiceBytesRecursive"),
            io_serviced_recursive: block_io(data, "ioServicedRecursive"),
        }),
    }
}

fn pids(data: &Value) -> cgroup1::Pids {
    cgroup1::Pids {
        current: figure(data, "/pids/current"),
        limit: figure(data, "/pids/limit"),
    }
}

fn block_io(data: &Value, kind: &str) -> Vec<cgroup1::BlkIoEntry> {
    let all = data["blkio"][kind].as_array().into_iter().flatten();
    all.map(|entry| cgroup1::BlkIoEntry {
        op: entry["op"].as_str().unwrap_or_default().into(),
        major: figure(entry, "/major"),
        minor: figure(entry, "/minor"),
        value: figure(entry, "/value"),
    })
    .collect()
}

fn version2(data: &Value) -> cgroup2::Metrics {
    let raw = |name: &str| figure(data, &format!("/memory/raw/{name}"));
    let microseconds = |path: &str| figure(data, path) / 1000;
    let mut io: Vec<cgroup2::IoEntry> = Vec::new();
    for (kind, is_bytes) in [
        ("ioServiceBytesRecursive", true),
        ("ioServicedRecursive", false),
    ] {
        for one in block_io(data, kind) {
            let found = io
                .iter()
                .position(|e| (e.major, e.minor) == (one.major, one.minor));
            let at = found.unwrap_or_else(|| {
                io.push(cgroup2::IoEntry {
                    major: one.major,
                    minor: one.minor,
                    ..Default::default()
                });
                io.len() - 1
            });
            let entry = &mut io[at];
            match (one.op.to_ascii_lowercase().as_str(), is_bytes) {
                ("read", true) => entry.rbytes = one.value,
                ("write", true) => entry.wbytes = one.value,
                ("read", false) => entry.rios = one.value,
                ("write", false) => entry.wios = one.value,
                _ => {}
            }
        }
    }
    cgroup2::Metrics {
        pids: Some(pids(data)),
        cpu: Some(cgroup2::Cpu {
            usage_usec: microseconds("/cpu/usage/total"),
            user_usec: microseconds("/cpu/usage/user"),
            system_usec: microseconds("/cpu/usage/kernel"),
            nr_periods: figure(data, "/cpu/throttling/periods"),
            nr_throttled: figure(data, "/cpu/throttling/throttledPeriods"),
            throttled_usec: microseconds("/cpu/throttling/throttledTime"),
        }),
        memory: Some(cgroup2::Memory {
            anon: raw("anon"),
            file: raw("file"),
            inactive_anon: raw("inactive_anon"),
            active_anon: raw("active_anon"),
            inactive_file: raw("inactive_file"),
            active_file: raw("active_file"),
            pgfault: raw("pgfault"),
            pgmajfault: raw("pgmajfault"),
            usage: figure(data, "/memory/usage/usage"),
            usage_limit: figure(data, "/memory/usage/limit"),
            swap_usage: figure(data, "/memory/swap/usage"),
            swap_limit: figure(data, "/memory/swap/limit"),
        }),
        io: Some(cgroup2::Io { usage: io }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Value {
        serde_json::json!({
            "cpu": {"usage": {"total": 5000, "percpu": [2000, 3000], "kernel": 1000, "user": 4000}},
            "memory": {"cache": 7, "usage": {"limit": 100, "usage": 50},
                       "raw": {"rss": 3, "total_rss": 4, "inactive_file": 6, "anon": 9}},
            "pids": {"current": 2, "limit": 0},
            "blkio": {"ioServiceBytesRecursive": [
                {"major": 8, "minor": 0, "op": "Read", "value": 512},
                {"major": 8, "minor": 0, "op": "Write", "value": 1024}]},
        })
    }

    #[test]
    fn figures_of_version_1() {
        let metrics = version1(&data());
        let cpu = metrics.cpu.unwrap().usage.unwrap();
        assert_eq!((cpu.total, cpu.per_cpu), (5000, vec![2000, 3000]));
        let memory = metrics.memory.unwrap();
        assert_eq!((memory.total_rss, memory.total_inactive_file), (4, 6));
        assert_eq!(memory.usage.unwrap().limit, 100);
    }

    #[test]
    fn figures_of_version_2_are_in_microseconds_and_by_device() {
        let metrics = version2(&data());
        assert_eq!(metrics.cpu.unwrap().usage_usec, 5);
        let io = metrics.io.unwrap().usage;
        assert_eq!((io.len(), io[0].rbytes, io[0].wbytes), (1, 512, 1024));
    }
}
