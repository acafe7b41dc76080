//! How would a run go on several machines? A model of it, from what one batch took on this one.
//!
//! Batches go round the machines; each encodes its own, sends it to every worker of the others, and adds every batch to its share
//! of the sums. So encoding and sums divide by the number of machines, and what each receives does not.

use crate::plan::Outline;
use serde::Serialize;

/// What one counted token took on this machine: seconds on all threads, and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PerToken {
    /// Forward and encode; on the device, where one computes.
    pub encode: f64,
    /// Moments of its activations.
    pub moments: f64,
    /// Adding it to all sums.
    pub fold: f64,
    /// Reading and tokenizing it, which one machine does.
    pub read: f64,
    /// Making one message of what it gave, on one thread.
    pub pack: f64,
    /// Taking the message apart, on one thread.
    pub unpack: f64,
    /// Length of the message.
    pub message: f64,
}

/// The machines that are thought of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machines {
    /// How many.
    pub n: u64,
    /// Devices of each; 0 where the processors compute.
    pub devices: u64,
    /// Bytes a second that a machine may send, and as many that it may receive.
    pub network: f64,
}

/// What bounds the speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The processors.
    Processors,
    /// The devices.
    Devices,
    /// What the machines send to each other.
    Network,
    /// Reading the corpus, on one machine.
    Reading,
}

/// How a run would go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Expected {
    /// Machines.
    pub machines: u64,
    /// Tokens a second.
    pub tokens_a_second: f64,
    /// What bounds it.
    pub bound: Bound,
    /// Bytes a second that each machine receives.
    pub network: f64,
    /// Bytes of memory of each machine at most.
    pub memory: u64,
    /// Seconds for a checkpoint, where the shared folder takes what one link brings.
    pub checkpoint: f64,
}

impl PerToken {
    /// How a run goes on `machines`, of whose memory `whole` bytes are on every machine and `shared` are divided, and of which `saved`
    /// bytes are a checkpoint.
    pub fn expected(&self, machines: Machines, [whole, shared, saved]: [u64; 3]) -> Expected {
        let n = machines.n.max(1) as f64;
        let others = n - 1.0;
        // each packs its own tokens for every other machine, and unpacks all others'
        let travel = (self.pack + self.unpack) * others / n;
        let (on_device, here) = if machines.devices > 0 {
            (self.encode / (n * machines.devices as f64), 0.0)
        } else {
            (0.0, self.encode / n)
        };
        let seconds = [
            (Bound::Processors, here + (self.moments + self.fold) / n + travel),
            (Bound::Devices, on_device),
            (Bound::Network, self.message * others / n / machines.network),
            (Bound::Reading, self.read),
        ];
        let (bound, slowest) = seconds.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("four bounds");
        let tokens_a_second = 1.0 / slowest;
        Expected {
            machines: machines.n.max(1),
            tokens_a_second,
            bound,
            network: tokens_a_second * self.message * others / n,
            memory: whole + shared.div_ceil(machines.n.max(1)),
            checkpoint: saved as f64 / machines.network,
        }
    }
}

impl Outline {
    /// Bytes of memory that every machine of a run needs whole, bytes that are divided between them, and bytes of a checkpoint.
    pub fn divided_bytes(&self) -> [u64; 3] {
        let (sums, rest): (Vec<_>, Vec<_>) = self.costs().iter().partition(|cost| cost.disk_bytes > 0);
        let memory = |costs: &[&crate::plan::Cost]| costs.iter().map(|cost| cost.memory_bytes).sum();
        [memory(&rest), memory(&sums), sums.iter().map(|cost| cost.disk_bytes).sum()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: PerToken =
        PerToken { encode: 8e-3, moments: 1e-3, fold: 1e-3, read: 1e-5, pack: 2e-5, unpack: 2e-5, message: 1e4 };
    const ROOM: [u64; 3] = [1 << 30, 8 << 30, 2 << 30];

    fn on(n: u64, devices: u64, network: f64) -> Expected {
        OF.expected(Machines { n, devices, network }, ROOM)
    }

    #[test]
    fn one_machine_sends_nothing_and_has_everything() {
        let one = on(1, 0, 1e9);
        assert!((one.tokens_a_second - 100.0).abs() < 1e-9 && one.network == 0.0 && one.bound == Bound::Processors);
        assert_eq!(one.memory, 9 << 30);
        assert!((one.checkpoint - (2u64 << 30) as f64 / 1e9).abs() < 1e-9);
    }

    #[test]
    fn more_machines_divide_the_work_and_not_what_arrives() {
        // 10 ms / 4 + 3/4 of 40 us
        let four = on(4, 0, 1e9);
        assert!((four.tokens_a_second - 1.0 / (2.5e-3 + 3e-5)).abs() < 1e-6, "{four:?}");
        assert!((four.network - four.tokens_a_second * 7500.0).abs() < 1e-6 && four.memory == 3 << 30);
        // with ever more of them, what each receives is all that is left
        let many = on(1_000_000, 0, 1e12);
        assert!((many.tokens_a_second * 4e-5 - 1.0).abs() < 1e-2 && many.bound == Bound::Processors);
        assert_eq!(on(64, 0, 1e6).bound, Bound::Network);
        assert!((on(64, 0, 1e6).network - 1e6).abs() < 1.0);
    }

    #[test]
    fn devices_take_the_encode_beside_the_processors() {
        let one = on(1, 1, 1e9);
        assert!((one.tokens_a_second - 125.0).abs() < 1e-9 && one.bound == Bound::Devices);
        let eight = on(1, 8, 1e9);
        assert!((eight.tokens_a_second - 500.0).abs() < 1e-9 && eight.bound == Bound::Processors);
        let fast = PerToken { encode: 1e-7, moments: 0.0, fold: 1e-7, ..OF };
        assert_eq!(fast.expected(Machines { n: 1, devices: 8, network: 1e9 }, ROOM).bound, Bound::Reading);
    }
}
