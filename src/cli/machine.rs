//! Figures of the machine: free memory, peak memory, processor time. `None` where it does not give them.

use crate::error::Result;
use crate::store::{bytes_under, free_bytes};
use crate::units::parse_bytes;
use std::path::Path;

/// Bytes of memory that can be had without swapping.
pub fn available_bytes() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

/// The limit asked for, or what the machine has free.
///
/// # Errors
/// `Request` when it is no size.
pub fn limit(asked: Option<&str>) -> Result<u64> {
    match asked {
        Some(text) => parse_bytes(text),
        None => Ok(available_bytes().unwrap_or(u64::MAX)),
    }
}

/// The bytes of disk that a run in `directory` may take: `asked` for, else what is free, and what its checkpoints hold already.
///
/// # Errors
/// `Request` when it is no size.
pub fn disk_limit(asked: Option<&str>, directory: &Path) -> Result<u64> {
    match asked {
        Some(text) => parse_bytes(text),
        None => Ok(free_bytes(directory).map_or(u64::MAX, |free| free.saturating_add(bytes_under(directory)))),
    }
}

/// Largest resident size of this process so far, in bytes.
pub fn peak_bytes() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM:")
}

/// Processor seconds of this process so far, all threads.
#[allow(clippy::disallowed_methods, reason = "what it gives back is a duration")]
pub fn cpu_seconds() -> f64 {
    cpu_time::ProcessTime::now().as_duration().as_secs_f64()
}

fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let text = crate::disk::of_system(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
