//! Which workers and processes does a run have, and how are they asked to stop?

use crate::cli::args::RunArgs;
use crate::device::Devices;
use crate::disk;
use crate::engine::{Cluster, RunStatus, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::store::RunDir;
use crate::threads;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn cluster(args: &RunArgs) -> Result<Cluster> {
    if args.workers == 0 || args.workers > 1024 {
        return Err(Error::request(format!("--workers is {}, expected 1 to 1024", args.workers)));
    }
    let (Some(n), Some(process), Some(file)) = (args.processes, args.process, &args.hosts) else {
        return Ok(Cluster::local(args.workers));
    };
    let text = disk::read_to_string(file).map_err(|e| Error::io("cannot read the file of hosts", file, &e))?;
    let hosts: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(String::from).collect();
    if hosts.len() != n {
        return Err(Error::request(format!(
            "--processes is {n}, but {} names {} hosts; write one HOST:PORT a line for each process",
            file.display(),
            hosts.len()
        )));
    }
    if let Some(host) = hosts.iter().find(|h| h.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err())) {
        return Err(Error::request(format!("{}: {host:?} is not of the form HOST:PORT", file.display())));
    }
    if process >= n {
        return Err(Error::request(format!("--process is {process}, expected 0 to {}", n - 1)));
    }
    let secret = match &args.secret_file {
        None => None,
        Some(file) => {
            let bytes = disk::read(file).map_err(|e| Error::io("cannot read the secret", file, &e))?;
            Some(Secret::of(&bytes).map_err(|e| e.within(file.display().to_string()))?)
        }
    };
    let encodes = args.devices != Some(Devices::None);
    Ok(Cluster { workers: args.workers, process, hosts, secret, encodes })
}

/// Ctrl-C, SIGTERM and a closed terminal (SIGHUP, unless it was to be ignored, as under `nohup`) ask for a checkpoint
/// and the end; a second one ends at once. Where there are several processes, the one that `leads` also learns of
/// signals to the others.
///
/// # Errors
/// `Machine` when the system does not let them be heard, or gives no thread.
pub fn listen(status: &Arc<RunStatus>, run: &Arc<RunDir>, leads: bool, several: bool) -> Result<()> {
    let wish = Arc::new(AtomicBool::new(false));
    let interrupted = i32::from(ErrorKind::Interrupted.exit_code());
    for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| *s != SIGHUP || !is_ignored(SIGHUP)) {
        signal_hook::flag::register_conditional_shutdown(signal, interrupted, wish.clone())
            .and_then(|_| signal_hook::flag::register(signal, wish.clone()))
            .map_err(|e| Error::machine(format!("cannot listen for signals: {e}")))?;
    }
    let (status, run) = (Arc::downgrade(status), run.clone());
    threads::start("signals", "the thread that waits for signals", move || {
        loop {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let Some(status) = status.upgrade() else { return };
            // between batches the source looks for itself
            let of_another = || leads && several && status.making().is_some() && run.stop_requested();
            if wish.load(Ordering::Relaxed) || of_another() {
                status.request_stop();
                if !leads {
                    // process 0 decides; it looks for this file
                    let _ = run.request_stop();
                }
                return;
            }
        }
    })?;
    Ok(())
}

/// Whether this process was started with the signal ignored; true where that is not known.
fn is_ignored(signal: i32) -> bool {
    let status = disk::of_system("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask >> (signal - 1) & 1 == 1)
}
