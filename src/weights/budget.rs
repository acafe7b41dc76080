//! How much memory may the header of a file ask for?
//!
//! A few bytes can ask for much memory: a text that is referred to many times, a list of small numbers each kept in a large word.
//! Code that allocates because of a header therefore declares the size first, and a file is refused when it asks for more than
//! its own length justifies. With the bytes of the header itself, reading takes at most four times the file's length plus 16 MiB.

/// Memory that a file may still ask for.
#[derive(Debug)]
pub struct Budget {
    left: usize,
}

/// Memory that even the shortest file may ask for; a real header of a hundred tensors takes a tenth of this.
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
