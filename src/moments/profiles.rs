//! What do a latent's firings look like? The sums of a space that only tables ask for, so that its owner alone keeps them: a new
//! one is a field here, with a line in each function.

use crate::corpus::{TokenBatch, TokenView};
use crate::error::Result;
use crate::moments::{Accumulator, DocumentCounts, LabelSums, State, TopOptions, TopTokens};
use crate::sae::LatentBatch;
use crate::store::{StateLayout, StateReader, StateWriter};
use std::sync::Arc;

/// What is remembered of the firings of one space's latents.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiles {
    /// Strongest tokens.
    pub top: TopTokens,
    /// Sums by label.
    pub labels: LabelSums,
    /// Documents in which they fired.
    pub documents: DocumentCounts,
}

/// What the profiles of a space are made for.
#[derive(Clone, Debug)]
pub struct ProfileShape {
    /// Number of latents.
    pub d_sae: usize,
    /// How strongest tokens are remembered.
    pub top: TopOptions,
    /// Names of the label fields.
    pub labels: Arc<[String]>,
}

impl Profiles {
    /// Nothing seen yet.
    pub fn new(shape: &ProfileShape) -> Self {
        Profiles {
            top: TopTokens::new(shape.d_sae, shape.top),
            labels: LabelSums::new(shape.d_sae, shape.labels.clone()),
            documents: DocumentCounts::new(shape.d_sae),
        }
    }

    fn parts(&self) -> [&dyn State; 3] {
        [&self.top, &self.labels, &self.documents]
    }
}

impl State for Profiles {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        self.parts().into_iter().fold(layout, |layout, part| part.lay_out(layout))
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        self.parts().into_iter().try_for_each(|part| part.save(file))
    }

    fn load(&mut self, file: &mut StateReader, first_row: u64) -> Result<()> {
        let parts: [&mut dyn State; 3] = [&mut self.top, &mut self.labels, &mut self.documents];
        parts.into_iter().try_for_each(|part| part.load(file, first_row))
    }
}

impl Accumulator for Profiles {
    /// As [`TopTokens`] take it.
    type Batch<'a> = (&'a TokenBatch, &'a TokenView, &'a LatentBatch);
    type Shape = ProfileShape;

    fn fold(&mut self, (tokens, view, latents): Self::Batch<'_>) -> Result<()> {
        self.top.fold((tokens, view, latents))?;
        self.labels.fold((tokens, latents))?;
        self.documents.fold((tokens, latents))
    }

    fn merge(&mut self, other: &Profiles) -> Result<()> {
        self.top.merge(&other.top)?;
        self.labels.merge(&other.labels)?;
        self.documents.merge(&other.documents)
    }

    fn bytes(shape: &ProfileShape) -> u64 {
        TopTokens::bytes(&(shape.d_sae, shape.top))
            + LabelSums::bytes(&(shape.d_sae, shape.labels.len()))
            + DocumentCounts::bytes(&shape.d_sae)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Document;
    use crate::moments::MAX_LABEL_VALUES;
    use crate::moments::accumulator::tests::through_a_file;

    /// Two rows of one document each, of the languages given; the second row fires twice as high.
    fn batch(first_row: u64, languages: [&str; 2]) -> (TokenBatch, LatentBatch) {
        let document = |(number, language): (u64, &str)| Document {
            number,
            name: language.into(),
            labels: vec![None, Some(language.to_string())],
            ..Document::default()
        };
        let mut tokens = TokenBatch::new(0, first_row);
        tokens.documents = (first_row..).zip(languages).map(document).collect();
        tokens.push(vec![0, 5, 6], &[false, true, true], &[(0, 0), (2, 1)]);
        let latents = LatentBatch {
            d_sae: 3,
            row_starts: vec![0, 1, 3],
            latents: vec![1, 1, 2],
            values: vec![1.0, 2.0, 4.0],
            ..LatentBatch::default()
        };
        (tokens, latents)
    }

    fn shape(d_sae: usize) -> ProfileShape {
        let top = TopOptions { keep: 2, before: 1, after: 0 };
        ProfileShape { d_sae, top, labels: ["field", "lang"].map(String::from).to_vec().into() }
    }

    fn of(batches: &[(u64, [&str; 2])]) -> Profiles {
        let mut profiles = Profiles::new(&shape(3));
        for &(first_row, languages) in batches {
            let (tokens, latents) = batch(first_row, languages);
            profiles.fold((&tokens, &tokens.views[0], &latents)).unwrap();
        }
        profiles
    }

    #[test]
    fn profiles_go_through_a_file_and_rows_are_moved_up() {
        let (first, second) = (of(&[(0, ["de", "en"])]), of(&[(0, ["en", "fr"])]));
        let mut both = of(&[]);
        through_a_file(&[&first], &mut [&mut both], 0).unwrap();
        assert_eq!(both, first);
        // rows of a file that comes behind two others have numbers behind theirs
        through_a_file(&[&second], &mut [&mut both], 2).unwrap();
        let mut merged = first.clone();
        merged.merge(&of(&[(2, ["en", "fr"])])).unwrap();
        assert_eq!(both, merged);
        let refused = through_a_file(&[&first], &mut [&mut Profiles::new(&shape(2))], 0).unwrap_err().to_string();
        assert!(refused.contains("does not have the shapes of this run"), "{refused}");
        let rows: Vec<u64> = both.top.latent(1).iter().map(|t| t.row).collect();
        assert_eq!(rows, [1, 3]);
        let n: Vec<(&str, u64)> = both.labels.labels().map(|(k, c)| (k.1.as_str(), c.n_rows)).collect();
        assert_eq!(n, [("de", 1), ("en", 2), ("fr", 1)]);
        assert_eq!(both.labels.get(&(1, "en".to_string())).unwrap().sum, [0.0, 3.0, 4.0]);
        assert_eq!(first.top.latent(2)[0].context[..], [5, 6]);
    }

    #[test]
    fn a_field_of_too_many_values_is_named() {
        let values: Vec<String> = (0..=MAX_LABEL_VALUES).map(|k| k.to_string()).collect();
        let mut profiles = of(&[]);
        let mut fold = |value: &str| {
            let (tokens, latents) = batch(0, [value, value]);
            profiles.fold((&tokens, &tokens.views[0], &latents))
        };
        values[..MAX_LABEL_VALUES].iter().for_each(|value| fold(value).unwrap());
        let refused = fold(&values[MAX_LABEL_VALUES]).unwrap_err().to_string();
        assert!(refused.contains("\"lang\" takes more than 64 values"), "{refused}");
        let one_more = of(&[(0, ["x", "y"])]);
        let merged = profiles.merge(&one_more).unwrap_err().to_string();
        assert!(merged.contains("\"lang\" takes more than 64 values in all"), "{merged}");
    }
}
