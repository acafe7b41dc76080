//! Where does a head lie among the rows of its tokens?

/// Where heads of tokens begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strides {
    /// The first head of the first token.
    pub first: usize,
    /// From token to token.
    pub by_token: usize,
    /// From head to head.
    pub by_head: usize,
}

impl Strides {
    /// First value of a head.
    #[inline(always)]
    pub fn of(&self, token: usize, head: usize) -> usize {
        self.first + token * self.by_token + head * self.by_head
    }
}
