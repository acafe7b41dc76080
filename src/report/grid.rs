//! A table of text: first column to the left, the others to the right, as narrow as they are.

use crate::report::WIDTH;
use std::fmt::Write;

/// A table of texts: the first column to the left, the others to the right.
pub struct Grid {
    /// Row by row, the titles first.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// Width of each column.
    pub fn widths(&self) -> Vec<usize> {
        let n = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |k: usize| self.rows.iter().filter_map(|r| r.get(k)).map(|t| t.chars().count()).max();
        (0..n).map(|k| width(k).unwrap_or(0)).collect()
    }

    /// Writes it; where lines are too long, with less space between columns.
    ///
    /// # Errors
    /// Those of writing to `out`.
    pub fn write(&self, out: &mut String) -> std::fmt::Result {
        let widths = self.widths();
        let tight = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1) > WIDTH;
        for row in &self.rows {
            let mut line = String::new();
            for (k, (text, width)) in row.iter().zip(&widths).enumerate() {
                match k {
                    0 => write!(line, "{text:<width$}")?,
                    _ if tight => write!(line, " {text:>width$}")?,
                    _ => write!(line, "  {text:>width$}")?,
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
