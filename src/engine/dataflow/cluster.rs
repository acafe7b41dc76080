//! How is a run divided into workers and processes?

use crate::error::{Error, Result};

/// Workers and processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Worker threads in each process.
    pub workers: usize,
    /// This process.
    pub process: usize,
    /// `HOST:PORT` of every process, in order; empty for one process.
    pub hosts: Vec<String>,
    /// The secret that processes prove to each other after their greeting.
    pub secret: Option<Secret>,
    /// Whether this process encodes batches; one without a device leaves that to the others.
    pub encodes: bool,
}

/// A secret that the processes of a run share. Only a key derived from it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

/// Bytes of a secret at least.
const SECRET_BYTES: usize = 16;

impl Secret {
    /// From the bytes of a file, line ends at its end left out.
    ///
    /// # Errors
    /// `Request` when there are fewer than 16.
    pub fn of(bytes: &[u8]) -> Result<Secret> {
        let bytes = bytes.trim_ascii_end();
        if bytes.len() < SECRET_BYTES {
            return Err(Error::request(format!(
                "the secret has {} bytes, expected at least {SECRET_BYTES}; make one with: openssl rand -hex 32",
                bytes.len()
            )));
        }
        Ok(Secret(blake3::derive_key("cognate 2026-11-28 processes of one run", bytes)))
    }

    pub(super) fn key(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Cluster {
    /// One process of `workers` workers.
    pub fn local(workers: usize) -> Self {
        Cluster { workers, process: 0, hosts: Vec::new(), secret: None, encodes: true }
    }

    /// The workers that encode, ascending: all of every process that does. `encode` has an answer for each process; none where there is
    /// but one.
    pub fn encoders(&self, encode: &[bool]) -> Vec<u64> {
        let encode = if encode.is_empty() { &[true][..] } else { encode };
        let of = |process: usize| (process * self.workers) as u64..((process + 1) * self.workers) as u64;
        encode.iter().enumerate().filter(|(_, encodes)| **encodes).flat_map(|(process, _)| of(process)).collect()
    }

    /// Default of `--in-flight`: one batch per worker, and two that are being read or folded. With several workers, one more per
    /// worker: no worker then waits for the worker that reads.
    pub fn in_flight(&self) -> u64 {
        let n = (self.workers * self.hosts.len().max(1)) as u64;
        if n == 1 { 3 } else { 2 + 2 * n }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_processes_without_devices_encode_nothing() {
        let cluster = Cluster::local(2);
        assert_eq!(cluster.encoders(&[]), [0, 1]);
        assert_eq!(cluster.encoders(&[true, true]), [0, 1, 2, 3]);
        assert_eq!(cluster.encoders(&[true, false, true]), [0, 1, 4, 5]);
        assert_eq!(cluster.encoders(&[false, true]), [2, 3]);
    }
}
