//! What is a row, where it is no token, and how do tokens share the rows? In a sentence, from the table `alignment`.

use crate::corpus::RowUnit;
use crate::disk;
use crate::error::Result;
use crate::table::{AlignmentRow, TableReader};
use crate::units::thousands;
use std::fmt::Write;
use std::path::Path;

/// The table's rows; none where a row is a token. `tables` is the folder of a run's newest tables.
///
/// # Errors
/// Those of reading a table.
pub fn read_alignment(tables: &Path) -> Result<Vec<AlignmentRow>> {
    let path = tables.join("alignment.parquet");
    if disk::is_file(&path) { TableReader::open(&path)?.read_all() } else { Ok(Vec::new()) }
}

/// How tokens share the rows; `None` where a row is a token.
pub fn alignment_words(rows: &[AlignmentRow]) -> Option<String> {
    let first = rows.first()?;
    let of = |r: &AlignmentRow| Some(format!("{:.2} of {}", r.tokens_per_row?, r.model));
    let per_row: Vec<String> = rows.iter().filter_map(of).collect();
    let mut out = format!(
        "a row is {}: on average {} tokens; {:.1} % are one token of each",
        match first.unit {
            RowUnit::Token => "a piece of text that all tokenizers share",
            RowUnit::Word => "a word, or more where a token of some tokenizer runs on",
            RowUnit::Sentence => "a sentence, or more where a token of some tokenizer runs on",
            RowUnit::Document => "a document",
        },
        per_row.join(", "),
        100.0 * first.one_to_one.unwrap_or(0.0)
    );
    if first.dropped_bytes > 0 {
        write!(out, "; {} bytes of text in no row", thousands(first.dropped_bytes)).ok()?;
    }
    if first.cut_units > 0 {
        let (n, unit) = (thousands(first.cut_units), first.unit.as_str());
        write!(out, "; {n} {unit}{} too long for one row and in several", if first.cut_units == 1 { "" } else { "s" })
            .ok()?;
    }
    if first.unaligned_documents > 0 {
        let plural = if first.unaligned_documents == 1 { "" } else { "s" };
        write!(out, "; {} document{plural} left out without alignment", thousands(first.unaligned_documents)).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_said_by_its_unit_and_what_is_amiss_is_counted() {
        let mut row = AlignmentRow {
            model: "a".into(),
            unit: RowUnit::Word,
            rows: 10,
            one_to_one: Some(0.5),
            tokens: 12,
            tokens_per_row: Some(1.2),
            bytes: 50,
            dropped_bytes: 0,
            unaligned_documents: 0,
            cut_units: 0,
        };
        assert_eq!(alignment_words(&[]), None);
        assert_eq!(
            alignment_words(&[row.clone()]).unwrap(),
            "a row is a word, or more where a token of some tokenizer runs on: on average 1.20 of a tokens; 50.0 % are one token of each"
        );
        (row.unit, row.cut_units, row.dropped_bytes) = (RowUnit::Document, 2, 1234);
        let said = alignment_words(&[row]).unwrap();
        assert!(
            said.starts_with("a row is a document: ")
                && said.ends_with("1 234 bytes of text in no row; 2 documents too long for one row and in several"),
            "{said}"
        );
    }
}
