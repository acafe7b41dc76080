//! How is a run divided into workers and processes?

/// Workers and processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Worker threads in each process.
    pub workers: usize,
    /// This process.
    pub process: usize,
    /// `HOST:PORT` of every process, in order; empty for one process.
    pub hosts: Vec<String>,
}

impl Cluster {
    /// One process of `workers` workers.
    pub fn local(workers: usize) -> Self {
        Cluster { workers, process: 0, hosts: Vec::new() }
    }

    /// Default of `--in-flight`: one batch per worker, and two more that are being read or folded; with several workers one more
    /// per worker, so that none waits for the one that reads.
    pub fn in_flight(&self) -> u64 {
        let n = (self.workers * self.hosts.len().max(1)) as u64;
        if n == 1 { 3 } else { 2 + 2 * n }
    }
}
