//! Where do tests find reference answers, and what happens to a test that cannot run here?
//!
//! Every fixture lies in the repository, so a missing one fails its test. What depends on the machine (a mount, a network
//! namespace, a downloaded model) is skipped through [`skip`], which is the only way to skip.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder of `tests/fixtures`.
///
/// # Panics
/// When it is missing: a checkout without its fixtures tests nothing.
pub fn fixture(path: &str) -> PathBuf {
    let found = project().join("tests/fixtures").join(path);
    assert!(found.exists(), "{} is missing: the checkout is not complete", found.display());
    found
}

/// Says that the running test is skipped, and why. `.ci/run` names a file in `CI_SKIPPED` and prints what gathers there at
/// its end. With `COGNATE_SKIP_NOTHING` set a skip is a failure.
///
/// # Panics
/// With `COGNATE_SKIP_NOTHING`, or when the file of `CI_SKIPPED` cannot be written.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_string();
    assert!(std::env::var_os("COGNATE_SKIP_NOTHING").is_none(), "{test} would be skipped: {why}");
    println!("skipped: {why}");
    if let Some(list) = std::env::var_os("CI_SKIPPED") {
        let list = Path::new(&list);
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(list).expect("CI_SKIPPED can be written");
        writeln!(file, "test {test} SKIPPED: {why}").expect("CI_SKIPPED can be written");
    }
}

/// Whether this process computes in bf16. On a processor without the instruction it does not, and the test called `test` is run here once
/// more in a process that emulates it, whose failure is this one's. To be called first: `if !in_bf16("…") { return; }`.
///
/// # Panics
/// When the test fails there.
pub fn in_bf16(test: &str) -> bool {
    if cognate::linalg::bf16::Way::of_this_machine().is_some() {
        return true;
    }
    assert!(std::env::var_os("COGNATE_BF16").is_none(), "this build emulates nothing: it has no debug assertions");
    let mut again = Command::new(std::env::current_exe().expect("a test knows its file"));
    let output =
        again.args([test, "--exact", "--nocapture"]).env("COGNATE_BF16", "emulated").output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{test}, in bf16");
    false
}

/// A small file system in memory, unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts `size` (as `mount` spells it, `"2m"`) at the existing folder `at`; `None`, and the test is skipped, where this
    /// process may not mount.
    pub fn mount(at: &Path, size: &str) -> Option<SmallDisk> {
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        if !mounted.is_ok_and(|m| m.status.success()) {
            skip("a small file system cannot be mounted here (root on Linux can)");
            return None;
        }
        Some(SmallDisk(at.to_path_buf()))
    }

    /// Makes it `size` large.
    pub fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let grown = Command::new("mount").args(["-o", &options]).arg(&self.0).output().expect("mount starts");
        assert!(grown.status.success(), "{}", String::from_utf8_lossy(&grown.stderr));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}
