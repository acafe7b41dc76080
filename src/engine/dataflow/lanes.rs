//! Who encodes a batch? With one at a time the worker itself; with more at once, threads beside it, each with a lane of its own.
//! Batches go round the lanes, and results come back in the order in which batches went in, whichever is ready first.

use crate::error::Result;
use crate::threads;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

/// What makes an `Out` of an `In`.
type Make<In, Out> = Arc<dyn Fn(&In) -> Out + Send + Sync>;

/// The lanes of a worker; `In` is put in, and comes out again with the `Out` that was made of it.
pub struct Lanes<In, Out> {
    make: Make<In, Out>,
    /// None where there is one lane: the worker's own.
    lanes: Vec<Lane<In, Out>>,
    /// Lanes in the order of their batches, the one that is to be ready first in front.
    busy: VecDeque<usize>,
    next: usize,
}

struct Lane<In, Out> {
    work: Option<Sender<In>>,
    done: Receiver<(In, Out)>,
    thread: Option<JoinHandle<()>>,
}

impl<In: Send + 'static, Out: Send + 'static> Lanes<In, Out> {
    /// `n` lanes of worker `index`.
    ///
    /// # Errors
    /// `Machine` when the system does not give the threads.
    pub fn start(n: usize, index: usize, make: impl Fn(&In) -> Out + Send + Sync + 'static) -> Result<Self> {
        let make: Make<In, Out> = Arc::new(make);
        let lane = |k: usize| -> Result<Lane<In, Out>> {
            let ((work, given), (made, done)) = (channel::<In>(), channel());
            let make = make.clone();
            let thread = threads::start(&format!("encode {index}.{k}"), "a thread that encodes", move || {
                while let Ok(work) = given.recv() {
                    let out = make(&work);
                    if made.send((work, out)).is_err() {
                        return; // the worker has ended
                    }
                }
            })?;
            Ok(Lane { work: Some(work), done, thread: Some(thread) })
        };
        let lanes = (0..if n > 1 { n } else { 0 }).map(lane).collect::<Result<_>>()?;
        Ok(Lanes { make, lanes, busy: VecDeque::new(), next: 0 })
    }

    /// Whether another may be put in.
    pub fn has_room(&self) -> bool {
        self.busy.len() < self.lanes.len().max(1)
    }

    /// Whether one is on its way.
    pub fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Puts one in, where there is room. With one lane it is made at once, and given back.
    pub fn put(&mut self, work: In) -> Option<(In, Out)> {
        let n = self.lanes.len();
        if n == 0 {
            let out = (self.make)(&work);
            return Some((work, out));
        }
        // a thread that has gone has panicked, which ends the process
        self.lanes[self.next].work.as_ref()?.send(work).ok()?;
        self.busy.push_back(self.next);
        self.next = (self.next + 1) % n;
        None
    }

    /// Takes the one that was put in first, if it is ready.
    pub fn take(&mut self) -> Option<(In, Out)> {
        let done = match self.lanes[*self.busy.front()?].done.try_recv() {
            Ok(done) => done,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
        };
        self.busy.pop_front();
        Some(done)
    }
}

impl<In, Out> Drop for Lanes<In, Out> {
    /// Waits for what is at work: a worker ends with nothing of it left behind.
    fn drop(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.work = None);
        for lane in &mut self.lanes {
            let _ = lane.thread.take().map(JoinHandle::join);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::{Condvar, Mutex};

    #[test]
    fn two_are_at_work_at_once_and_come_out_in_order() {
        // an even one waits for the odd one behind it: with one at a time it would wait for ever
        let ready = (Mutex::new(BTreeSet::new()), Condvar::new());
        let mut lanes = Lanes::start(2, 0, move |t: &u64| {
            let mut odd = ready.0.lock().unwrap();
            if t.is_multiple_of(2) {
                drop(ready.1.wait_while(odd, |odd| !odd.contains(&(t + 1))).unwrap());
            } else {
                odd.insert(*t);
                ready.1.notify_all();
            }
            t * 10
        })
        .unwrap();
        let mut out = Vec::new();
        for t in [0, 2, 4] {
            assert!(lanes.has_room() && lanes.put(t).is_none() && lanes.has_room());
            assert!(lanes.put(t + 1).is_none() && !lanes.has_room());
            while lanes.is_busy() {
                out.extend(lanes.take());
            }
        }
        assert_eq!(out, (0..6).map(|t| (t, t * 10)).collect::<Vec<_>>());
    }

    #[test]
    fn one_lane_is_the_workers_own() {
        let here = std::thread::current().id();
        let mut lanes = Lanes::start(1, 0, move |t: &u64| (t + 1, std::thread::current().id() == here)).unwrap();
        assert!(lanes.has_room() && !lanes.is_busy());
        assert_eq!(lanes.put(4), Some((4, (5, true))));
        assert!(lanes.has_room() && lanes.take().is_none());
    }

    #[test]
    fn what_is_at_work_ends_with_the_lanes() {
        let count = Arc::new(Mutex::new(0));
        let of_count = count.clone();
        let mut lanes = Lanes::start(3, 0, move |_: &u64| *of_count.lock().unwrap() += 1).unwrap();
        assert!((0..3).all(|t| lanes.put(t).is_none()));
        drop(lanes);
        assert_eq!((*count.lock().unwrap(), Arc::strong_count(&count)), (3, 1));
    }
}
