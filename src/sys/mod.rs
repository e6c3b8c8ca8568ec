//! System calls: the only unsafe code. No OCI words, no policy, no retries.
#![allow(unsafe_code)]

#[cfg(target_os = "freebsd")]
pub mod freebsd;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod unix;

#[cfg(target_os = "freebsd")]
pub use freebsd::{adopt_orphans, boot_id, host_facts, process_info, process_start_time};
#[cfg(target_os = "linux")]
pub use linux::{adopt_orphans, boot_id, host_facts, process_info, process_start_time};
