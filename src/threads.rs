//! How are threads started, and what is said where the system gives no more of them?
//!
//! A limit (`ulimit -u`, a container's) may be met by any thread, so every one is started here, and what cannot be started is an error.
//! The threads of calculations are started before all else: rayon would start them where they are first asked for, and panic.

use crate::disk;
use crate::error::{Error, Result};
use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts the threads that calculations share: as many as RAYON_NUM_THREADS says, else one for each core.
///
/// # Errors
/// `Machine` when the system does not give them.
pub fn start_pool() -> Result<()> {
    let Err(e) = rayon::ThreadPoolBuilder::new().build_global() else { return Ok(()) };
    // without a reason of the system's the pool is there already
    let Some(reason) = std::error::Error::source(&e).and_then(|e| e.downcast_ref::<io::Error>()) else { return Ok(()) };
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
    let n = asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let what = if n == 1 { "the thread that computes".to_string() } else { format!("the {n} threads that compute") };
    Err(refused(&what, Some(reason)))
}

/// Has the thread that calls compute alone: commands that read a little need no other.
pub fn stay_alone() {
    // nothing is started, and a pool that is there already serves as well
    let _ = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global();
}

/// Starts a thread called `name` for `work`; errors call it `what` ("the thread that reads the corpus").
///
/// # Errors
/// `Machine` when the system does not give it.
#[allow(clippy::disallowed_methods, reason = "the one place that starts threads")]
pub fn start<T: Send + 'static>(
    name: &str,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    Builder::new().name(name.to_string()).spawn(work).map_err(|e| refused(what, Some(&e)))
}

/// The error for `what` that could not be started, with the system's reason where it is another than a limit.
pub fn refused(what: &str, reason: Option<&io::Error>) -> Error {
    let reason = reason.filter(|e| e.kind() != io::ErrorKind::WouldBlock).map(|e| format!(" ({e})"));
    let limit = match most_threads() {
        Some(most) => format!("ulimit -u, now {most}; a container may have one of its own"),
        None => "ulimit -u, or the container's".to_string(),
    };
    Error::machine(format!(
        "cannot start {what}: the system gives this user no more threads{}; raise the limit ({limit}), or use fewer threads: \
         RAYON_NUM_THREADS=1 in the environment, and --workers 1 in a run",
        reason.unwrap_or_default()
    ))
}

/// How many threads and processes this user may have, where the system says so and bounds it.
fn most_threads() -> Option<u64> {
    let limits = disk::of_system("/proc/self/limits").ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max processes"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_not_given_as_a_code() {
        let said = refused("the 2 threads that compute", Some(&io::Error::from_raw_os_error(11))).to_string();
        assert!(said.starts_with("cannot start the 2 threads that compute: the system gives"), "{said}");
        assert!(!said.contains("os error") && said.contains("ulimit -u") && said.contains("--workers"), "{said}");
        let said = refused("the thread", Some(&io::Error::other("odd"))).to_string();
        assert!(said.contains("(odd)"), "{said}");
    }
}
