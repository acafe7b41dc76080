//! Does an input make its reader hang? What takes long is a fault; what does not end is named, and ends the tests: a loop cannot be caught.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A reading that takes longer is a fault. All here take milliseconds; the machine may be busy.
const SLOW: Duration = Duration::from_secs(20);
/// After this long it is taken to run for ever.
const ENDLESS: Duration = Duration::from_secs(180);

/// Looks at the clock while one input after another is read.
pub struct Watch {
    /// The input that is read, and milliseconds since the beginning at which it was begun; `u64::MAX`: none.
    seed: Arc<AtomicU64>,
    begun: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    start: Instant,
    slowest: Cell<Duration>,
    now: Cell<Instant>,
}

impl Watch {
    /// Begins to watch the inputs of a format.
    pub fn over(name: &str) -> Watch {
        let start = Instant::now();
        let watch = Watch {
            seed: Arc::default(),
            begun: Arc::new(AtomicU64::new(u64::MAX)),
            is_over: Arc::default(),
            start,
            slowest: Cell::default(),
            now: Cell::new(start),
        };
        let (seed, begun, is_over, name) =
            (watch.seed.clone(), watch.begun.clone(), watch.is_over.clone(), name.to_string());
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(500));
                let begun = begun.load(Ordering::Acquire);
                if begun != u64::MAX && start.elapsed() > Duration::from_millis(begun) + ENDLESS {
                    eprintln!("{name}: the input with seed {} does not end", seed.load(Ordering::Relaxed));
                    std::process::abort();
                }
            }
        });
        watch
    }

    /// An input is about to be read.
    pub fn begin(&self, seed: u64) {
        self.now.set(Instant::now());
        self.seed.store(seed, Ordering::Relaxed);
        self.begun.store(self.start.elapsed().as_millis() as u64, Ordering::Release);
    }

    /// It was read; the fault where that took long.
    pub fn end(&self) -> Option<String> {
        self.begun.store(u64::MAX, Ordering::Release);
        let took = self.now.get().elapsed();
        self.slowest.set(self.slowest.get().max(took));
        (took > SLOW).then(|| format!("took {} s", took.as_secs()))
    }

    /// What the slowest took.
    pub fn slowest(&self) -> Duration {
        self.slowest.get()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
