//! Which call is to fail? Asked before every call, in builds with debug assertions alone; a release has `no_fault.rs`.
//!
//! `COGNATE_FAULT` arms one fault in a process, for tests:
//!
//! | value | meaning |
//! | --- | --- |
//! | `CALL:N:ERROR` | the N-th call (from 1) of the kind CALL fails: `rename:2:EIO` |
//! | `CALL:N+:ERROR` | it and all behind it |
//! | `CALL:N/2:ERROR` | it and every second one behind it, so that what is made again goes through |
//! | `full:BYTES` | once so many bytes were written, in all files together, the disk is full |
//! | `slow:MICROSECONDS` | every call takes this much longer |
//!
//! CALL is `open`, `create`, `read`, `write`, `sync`, `length`, `map`, `lock`, `look`, `list`, `follow`, `link`, `rename`, `remove`,
//! `make` or `any`; ERROR is EIO, ENOSPC, EACCES, EMFILE, EINTR, or SHORT: half of the bytes that were asked for, one at least.
//! `COGNATE_FAULT_LOG` names a file to which each call that fails is appended, `CALL PATH` a line; without `COGNATE_FAULT` every call.
//! Of a file that has its name still to come, PATH is the name to come.

use super::Call;
use std::fmt::Write as _;
use std::io::{Error, Result, Write as _};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const FAULT: &str = "COGNATE_FAULT";
const LOG: &str = "COGNATE_FAULT_LOG";

const CALLS: [(&str, Call); 15] = [
    ("open", Call::Open),
    ("create", Call::Create),
    ("read", Call::Read),
    ("write", Call::Write),
    ("sync", Call::Sync),
    ("length", Call::Length),
    ("map", Call::Map),
    ("lock", Call::Lock),
    ("look", Call::Look),
    ("list", Call::List),
    ("follow", Call::Follow),
    ("link", Call::Link),
    ("rename", Call::Rename),
    ("remove", Call::Remove),
    ("make", Call::Make),
];

/// Numbers of errors; the same on Linux and macOS.
const ERRORS: [(&str, i32); 5] = [("EIO", 5), ("ENOSPC", FULL), ("EACCES", 13), ("EMFILE", 24), ("EINTR", 4)];
const FULL: i32 = 28;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fails(i32),
    Short,
}

#[derive(Debug)]
enum Fault {
    Calls {
        /// `None`: of any kind.
        call: Option<Call>,
        first: u64,
        behind: Behind,
        outcome: Outcome,
    },
    Full {
        bytes: u64,
    },
    Slow(Duration),
}

/// Which calls fail behind the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    None,
    All,
    EverySecond,
}

/// The fault of this process, and how far it is from it: calls of the kind, or bytes written.
struct Armed {
    fault: Option<Fault>,
    passed: AtomicU64,
    log: Option<std::fs::File>,
}

/// Whether the call goes through.
pub(super) fn before(call: Call, path: &Path) -> Result<()> {
    at_most(call, path, 0).map(drop)
}

/// The same of a call that moves bytes: how many of the `wanted` it may move.
pub(super) fn at_most(call: Call, path: &Path, wanted: usize) -> Result<usize> {
    static ARMED: OnceLock<Armed> = OnceLock::new();
    let armed = ARMED.get_or_init(Armed::by_environment);
    if armed.fault.is_none() && armed.log.is_none() {
        return Ok(wanted);
    }
    armed.met(call, path, wanted)
}

impl Armed {
    fn by_environment() -> Armed {
        let fault = std::env::var(FAULT).ok().map(|text| {
            parse(&text).unwrap_or_else(|| {
                panic!("{FAULT}={text:?}, expected CALL:N:ERROR, CALL:N+:ERROR, CALL:N/2:ERROR, full:BYTES or slow:MICROSECONDS, as src/disk/fault.rs lists them")
            })
        });
        let log = std::env::var_os(LOG).map(|path| {
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(&path);
            opened.unwrap_or_else(|e| panic!("{LOG}={}: {e}, expected a file to append to", path.display()))
        });
        Armed { fault, passed: AtomicU64::new(0), log }
    }

    fn met(&self, call: Call, path: &Path, wanted: usize) -> Result<usize> {
        let Some(fault) = &self.fault else {
            self.note(call, path);
            return Ok(wanted);
        };
        let outcome = match *fault {
            Fault::Calls { call: of, first, behind, outcome } => {
                if of.is_some_and(|of| of != call) {
                    return Ok(wanted);
                }
                let n = 1 + self.passed.fetch_add(1, Ordering::SeqCst);
                let fails = match behind {
                    _ if n <= first => n == first,
                    Behind::None => false,
                    Behind::All => true,
                    Behind::EverySecond => (n - first).is_multiple_of(2),
                };
                if !fails {
                    return Ok(wanted);
                }
                outcome
            }
            Fault::Slow(by) => {
                std::thread::sleep(by);
                return Ok(wanted);
            }
            Fault::Full { bytes } => {
                if call != Call::Write || wanted == 0 {
                    return Ok(wanted);
                }
                let before = self.passed.fetch_add(wanted as u64, Ordering::SeqCst);
                let left = usize::try_from(bytes.saturating_sub(before)).unwrap_or(usize::MAX);
                if left > 0 {
                    return Ok(left.min(wanted));
                }
                Outcome::Fails(FULL)
            }
        };
        self.note(call, path);
        match outcome {
            Outcome::Fails(number) => Err(Error::from_raw_os_error(number)),
            Outcome::Short => Ok(wanted.div_ceil(2)),
        }
    }

    fn note(&self, call: Call, path: &Path) {
        let Some(mut log) = self.log.as_ref() else { return };
        let name = CALLS.iter().find(|(_, c)| *c == call).map_or("", |(name, _)| name);
        let mut line = String::new();
        let _ = writeln!(line, "{name} {}", path.display());
        // one write, so that lines of several threads and processes stay whole
        let _ = log.write_all(line.as_bytes());
    }
}

fn parse(text: &str) -> Option<Fault> {
    if let Some(bytes) = text.strip_prefix("full:") {
        return Some(Fault::Full { bytes: bytes.parse().ok()? });
    }
    if let Some(by) = text.strip_prefix("slow:") {
        return Some(Fault::Slow(Duration::from_micros(by.parse().ok()?)));
    }
    let mut parts = text.splitn(3, ':');
    let (call, n, error) = (parts.next()?, parts.next()?, parts.next()?);
    let call = match call {
        "any" => None,
        _ => Some(CALLS.iter().find(|(name, _)| *name == call)?.1),
    };
    let (n, behind) = match (n.strip_suffix('+'), n.strip_suffix("/2")) {
        (Some(n), _) => (n, Behind::All),
        (_, Some(n)) => (n, Behind::EverySecond),
        (None, None) => (n, Behind::None),
    };
    let first = n.parse().ok().filter(|n| *n > 0)?;
    let outcome = match error {
        "SHORT" => Outcome::Short,
        _ => Outcome::Fails(ERRORS.iter().find(|(name, _)| *name == error)?.1),
    };
    // it would be made again for ever
    let endless = behind == Behind::All && error == "EINTR";
    (!endless).then_some(Fault::Calls { call, first, behind, outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(text: &str) -> Armed {
        Armed { fault: Some(parse(text).unwrap()), passed: AtomicU64::new(0), log: None }
    }

    /// What becomes of calls that want ten bytes each: how many they may move, or the error's number.
    fn fates(text: &str, calls: &[Call]) -> Vec<std::result::Result<usize, i32>> {
        let armed = armed(text);
        let fate = |call: &Call| armed.met(*call, Path::new("x"), 10).map_err(|e| e.raw_os_error().unwrap());
        calls.iter().map(fate).collect()
    }

    #[test]
    fn the_nth_call_of_its_kind_fails_once_or_from_there_on() {
        use Call::{Read, Write};
        assert_eq!(fates("write:2:EIO", &[Write, Read, Write, Write]), [Ok(10), Ok(10), Err(5), Ok(10)]);
        assert_eq!(fates("write:2+:ENOSPC", &[Write, Read, Write, Write]), [Ok(10), Ok(10), Err(28), Err(28)]);
        assert_eq!(fates("any:2:EINTR", &[Write, Read, Write]), [Ok(10), Err(4), Ok(10)]);
        assert_eq!(fates("read:1:SHORT", &[Write, Read, Read]), [Ok(10), Ok(5), Ok(10)]);
        assert_eq!(fates("any:2/2:EINTR", &[Write, Read, Read, Write, Read]), [Ok(10), Err(4), Ok(10), Err(4), Ok(10)]);
    }

    #[test]
    fn a_disk_takes_what_it_has_and_is_full() {
        use Call::{Read, Write};
        assert_eq!(
            fates("full:25", &[Write, Write, Read, Write, Write, Read]),
            [Ok(10), Ok(10), Ok(10), Ok(5), Err(28), Ok(10)]
        );
        assert_eq!(fates("full:0", &[Write]), [Err(28)]);
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for text in [
            "",
            "write",
            "write:0:EIO",
            "write:x:EIO",
            "wrote:1:EIO",
            "write:1:EOOPS",
            "full:much",
            "slow:",
            "any:1+:EINTR",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
