//! How much memory may the header of a file ask for?
//!
//! A few bytes can ask for many: a text that is named again and again, a list of small numbers each kept in a large
//! word. So code that keeps something on a header's word declares its size first, and a file that asks for more than its own
//! length accounts for is refused. Together with the bytes of the header itself, a reading stays below four times the
//! file's length and 16 MiB.

/// What is left of the memory that a file accounts for.
#[derive(Debug)]
pub struct Budget {
    left: usize,
}

/// What any file may ask for, however short: real headers of a hundred tensors take a tenth of it.
const FIXED: usize = 8 << 20;

impl Budget {
    /// Of a file of this length.
    pub fn of_file(file_bytes: u64) -> Self {
        let file_bytes = usize::try_from(file_bytes).unwrap_or(usize::MAX);
        Budget { left: file_bytes.saturating_mul(2).saturating_add(FIXED) }
    }

    /// To be asked before `bytes` are kept.
    ///
    /// # Errors
    /// A sentence without the file's name, when they are more than what is left.
    pub fn spend(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or("its header asks for more memory than a file of its length accounts for")?;
        Ok(())
    }
}
