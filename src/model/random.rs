//! What is drawn at random in a control model? The weights of linear layers by [`RandomWeights`], and the tables of embeddings where it
//! asks for them too.

use crate::error::Result;
use crate::linalg::Stream;
use crate::weights::Source;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// `[models.NAME] random_weights = SEED`, or `{ seed = SEED, embeddings = true }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomWeights {
    /// Another seed draws other weights.
    pub seed: u64,
    /// Whether the tables of tokens and positions are drawn too; norms always stay.
    pub embeddings: bool,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a seed, or a table { seed = N, embeddings = true }")]
enum Written {
    Seed(u64),
    Table(Table),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    seed: u64,
    #[serde(default)]
    embeddings: bool,
}

impl<'de> Deserialize<'de> for RandomWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Seed(seed) => RandomWeights { seed, embeddings: false },
            Written::Table(Table { seed, embeddings }) => RandomWeights { seed, embeddings },
        })
    }
}

impl Serialize for RandomWeights {
    /// Weights alone are a number, however they were written: the same run.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let &RandomWeights { seed, embeddings } = self;
        if embeddings { Written::Table(Table { seed, embeddings }) } else { Written::Seed(seed) }.serialize(serializer)
    }
}

impl fmt::Display for RandomWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}{}", self.seed, if self.embeddings { ", embeddings too" } else { "" })
    }
}

/// Puts Gaussian values of the same mean and standard deviation (ddof = 0) in the place of `values`.
pub(super) fn redraw(seed: u64, name: &str, values: &mut [f32]) {
    let (mean, std) = spread(std::iter::once(&*values));
    let mut stream = Stream::new(seed, &format!("random weights {name}"), 0);
    values.iter_mut().for_each(|v| *v = (mean + std * stream.gaussian()) as f32);
}

/// Mean and standard deviation (ddof = 0) of all values; the pieces are gone through twice.
fn spread<'a>(pieces: impl Iterator<Item = &'a [f32]> + Clone) -> (f64, f64) {
    let n = pieces.clone().map(<[f32]>::len).sum::<usize>().max(1) as f64;
    let mean = pieces.clone().flatten().map(|v| f64::from(*v)).sum::<f64>() / n;
    let squares = pieces.flatten().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
    (mean, (squares / n).sqrt())
}

/// A table whose rows are drawn when they are looked up: row r from stream r of its name, with the mean and standard deviation
/// of the whole stored table. It takes no memory for the table.
pub(super) struct RandomTable {
    stored: Arc<dyn Source>,
    name: String,
    width: usize,
    seed: u64,
    mean: f64,
    std: f64,
}

impl RandomTable {
    /// In the place of the table `name`, `[n, width]`, of `stored`.
    ///
    /// # Errors
    /// Those of reading the table.
    pub fn new(stored: Arc<dyn Source>, name: String, width: usize, seed: u64) -> Result<Self> {
        let n = stored.shape(&name).map_or(0, |shape| shape.iter().product::<usize>());
        let mut row = vec![0f32; width];
        let mut sum = 0.0;
        for first in (0..n).step_by(width.max(1)) {
            stored.read(&name, first, &mut row)?;
            sum += row.iter().map(|v| f64::from(*v)).sum::<f64>();
        }
        let mean = sum / n.max(1) as f64;
        let mut squares = 0.0;
        for first in (0..n).step_by(width.max(1)) {
            stored.read(&name, first, &mut row)?;
            squares += row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
        }
        Ok(RandomTable { stored, name, width, seed, mean, std: (squares / n.max(1) as f64).sqrt() })
    }
}

impl Source for RandomTable {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.stored.shape(name)
    }

    fn read(&self, name: &str, first: usize, out: &mut [f32]) -> Result<()> {
        if name != self.name {
            return self.stored.read(name, first, out);
        }
        let (mut at, mut left) = (first, out);
        while !left.is_empty() {
            let (row, skip) = (at / self.width, at % self.width);
            let (now, later) = left.split_at_mut((self.width - skip).min(left.len()));
            let mut stream = Stream::new(self.seed, &format!("random embeddings {name}"), row as u64);
            (0..skip).for_each(|_| _ = stream.gaussian());
            now.iter_mut().for_each(|v| *v = (self.mean + self.std * stream.gaussian()) as f32);
            at += now.len();
            left = later;
        }
        Ok(())
    }

    fn n_parameters(&self) -> u64 {
        self.stored.n_parameters()
    }

    fn place(&self, name: &str) -> String {
        self.stored.place(name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        self.stored.names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stored(Vec<f32>);

    impl Source for Stored {
        fn shape(&self, name: &str) -> Option<&[usize]> {
            (name == "table").then_some(&[4000, 5])
        }
        fn read(&self, _: &str, first: usize, out: &mut [f32]) -> Result<()> {
            out.copy_from_slice(&self.0[first..first + out.len()]);
            Ok(())
        }
        fn n_parameters(&self) -> u64 {
            20_000
        }
        fn place(&self, _: &str) -> String {
            "here".into()
        }
        fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
            Box::new(["table"].into_iter())
        }
    }

    fn moments(values: &[f32]) -> (f64, f64) {
        spread(std::iter::once(values))
    }

    #[test]
    fn random_weights_keep_mean_and_spread_and_nothing_else() {
        let stored: Vec<f32> = (0..20_000).map(|i| 0.5 + (i % 7) as f32).collect();
        let drawn = |seed, name| {
            let mut values = stored.clone();
            redraw(seed, name, &mut values);
            values
        };
        let (of_stored, of_drawn) = (moments(&stored), moments(&drawn(42, "w")));
        // the standard error of the mean is 2 / sqrt(20 000) = 0.014
        assert!((of_stored.0 - of_drawn.0).abs() < 0.06 && (of_stored.1 - of_drawn.1).abs() < 0.06, "{of_drawn:?}");
        assert_eq!(drawn(42, "w"), drawn(42, "w"));
        assert!(drawn(42, "w") != drawn(32, "w") && drawn(42, "w") != drawn(42, "v"));
        // Gaussian, not shuffled: some values lie beyond the stored range, none equals a stored step
        let least = drawn(42, "w").into_iter().fold(f32::INFINITY, f32::min);
        assert!(least < 0.0, "{least}");
    }

    #[test]
    fn a_random_table_has_the_stored_spread_and_the_same_rows_however_it_is_read() {
        let stored: Vec<f32> = (0..20_000).map(|i| 0.5 + (i % 7) as f32).collect();
        let table = |seed| RandomTable::new(Arc::new(Stored(stored.clone())), "table".into(), 5, seed).unwrap();
        let read = |seed, first, n| {
            let mut out = vec![0.0; n];
            table(seed).read("table", first, &mut out).unwrap();
            out
        };
        let all = read(1, 0, 20_000);
        let (want, got) = (moments(&stored), moments(&all));
        assert!((want.0 - got.0).abs() < 0.06 && (want.1 - got.1).abs() < 0.06, "{got:?}");
        assert_eq!(read(1, 7, 11), all[7..18]);
        assert_ne!(read(2, 0, 5), all[..5]);
        assert_ne!(all[..5], all[5..10], "rows are independent");
    }

    #[test]
    fn both_forms_are_read_and_weights_alone_are_written_as_their_seed() {
        let read = |text: &str| serde_json::from_str::<RandomWeights>(text);
        for text in ["42", "{\"seed\": 42}", "{\"seed\": 42, \"embeddings\": false}"] {
            assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), "42");
        }
        let both = read("{\"seed\": 42, \"embeddings\": true}").unwrap();
        assert_eq!(both, RandomWeights { seed: 42, embeddings: true });
        assert_eq!(read(&serde_json::to_string(&both).unwrap()).unwrap(), both);
        for wrong in ["-1", "true", "{\"seed\": 1, \"embedding\": true}", "{}"] {
            assert!(read(wrong).unwrap_err().to_string().contains("{ seed = N, embeddings = true }"), "{wrong}");
        }
    }
}
