//! What can go wrong, in the user's terms.
//!
//! Every library error is an [`Error`]: a kind, which decides the exit code, and one sentence that names what was
//! attempted, what was found, what was expected and what to do. Context is added once, where the name is known.

use std::cell::Cell;
use std::path::Path;

/// What sort of thing went wrong. The exit code of the program follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A comparison found a difference, or a check failed (exit 1).
    Gate,
    /// The request is wrong: a key, a flag, a shape that does not fit (exit 2).
    Request,
    /// Input data is wrong: a file, a line, a tensor (exit 3).
    Input,
    /// Saved state is damaged or belongs to another run (exit 4).
    State,
    /// System error: disk, memory, network, a lost peer (exit 5).
    Machine,
    /// Stopped on request; the run can be resumed (exit 130).
    Interrupted,
}

impl ErrorKind {
    /// Exit code of the program for this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Gate => 1,
            ErrorKind::Request => 2,
            ErrorKind::Input => 3,
            ErrorKind::State => 4,
            ErrorKind::Machine => 5,
            ErrorKind::Interrupted => 130,
        }
    }
}

/// One failure, ready to be shown: lower case, no final stop, the remedy last.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Result of every fallible function of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Calls into a library that panics on some damaged input; `None` where it did. Hooks let such a panic pass: see
/// [`is_caught`].
pub fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    let before = CATCHING.replace(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    CATCHING.set(before);
    result.ok()
}

/// Whether a panic of this thread would be caught and reported as an error.
pub fn is_caught() -> bool {
    CATCHING.get()
}

impl Error {
    /// An error of `kind` with its sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into() }
    }

    /// The request is wrong.
    pub fn request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Request, message)
    }

    /// Input data is wrong.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// Saved state is damaged or of another run.
    pub fn state(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::State, message)
    }

    /// A system error: disk, memory, network, a lost peer.
    pub fn machine(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Machine, message)
    }

    /// A failed read or write of `path` while doing `what` ("read the corpus file"). A missing file is a wrong request,
    /// what the system refuses (a full disk, access, too many open files) is the machine's, anything else is bad input.
    pub fn io(what: &str, path: &Path, source: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let (kind, hint) = match source.kind() {
            Io::NotFound => (ErrorKind::Request, "; check the path (it is relative to the working directory)"),
            Io::StorageFull | Io::QuotaExceeded => {
                (ErrorKind::Machine, "; free some space, then run the same command again")
            }
            Io::PermissionDenied | Io::ReadOnlyFilesystem => (ErrorKind::Machine, "; check who may write there"),
            Io::OutOfMemory => (ErrorKind::Machine, ""),
            Io::IsADirectory | Io::NotADirectory => (ErrorKind::Input, ""),
            // too many open files, a disk or a server that does not answer
            _ if source.raw_os_error().is_some() => (ErrorKind::Machine, ""),
            _ => (ErrorKind::Input, ""),
        };
        Error { kind, message: format!("{what} {}: {source}{hint}", path.display()) }
    }

    /// The same failure with context before it: `context: message`.
    #[must_use]
    pub fn within(mut self, context: impl std::fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// What sort of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
