//! Latents that are not computed here, token by token: those that a feed answers with or that lie in files become sparse rows, checked and in order.

/// Sparse rows, one for each token that belongs to a row of the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseRows {
    /// Row r holds entries `row_starts[r]..row_starts[r + 1]`: `[n_tokens + 1]`.
    pub row_starts: Vec<u32>,
    /// Latent of each entry, ascending inside a row.
    pub latents: Vec<u32>,
    /// Activation of each entry; never 0.
    pub values: Vec<f32>,
}

impl Default for SparseRows {
    /// Of no token.
    fn default() -> Self {
        SparseRows { row_starts: vec![0], latents: Vec::new(), values: Vec::new() }
    }
}

impl SparseRows {
    /// Appends the row of the next token: `entries` in any order, of which those of value 0 are left out. There are
    /// `d_sae` latents, of which `most` fire on a token.
    ///
    /// # Errors
    /// What is wrong, without the place: a value that is not finite, a latent that is not below `d_sae` or is there twice, more than `most`.
    ///
    /// # Panics
    /// Where a batch has more entries than u32 holds, which the plan refuses.
    pub fn push(&mut self, entries: &mut Vec<(u32, f32)>, (d_sae, most): (usize, usize)) -> Result<(), String> {
        entries.retain(|(_, value)| *value != 0.0);
        entries.sort_by_key(|(latent, _)| *latent);
        if let Some((latent, value)) = entries.iter().find(|(_, value)| !value.is_finite()) {
            return Err(format!("activation {value} of latent {latent} is not finite"));
        }
        if let Some((latent, _)) = entries.last().filter(|(latent, _)| *latent as usize >= d_sae) {
            return Err(format!("latent {latent}, expected 0 to {}", d_sae - 1));
        }
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("latent {} twice, expected each once", pair[0].0));
        }
        if entries.len() > most {
            return Err(format!("{} latents fire, expected {most} at most; raise `most`", entries.len()));
        }
        self.latents.extend(entries.iter().map(|(latent, _)| latent));
        self.values.extend(entries.iter().map(|(_, value)| value));
        self.row_starts.push(u32::try_from(self.latents.len()).expect("the plan bounds the entries of a batch"));
        Ok(())
    }
}
