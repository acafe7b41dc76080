//! `best_over`: which of a model's places holds each latent's best partner, beside what chance gives over as many places.
//! `best_over_counts`: the same counted for each two models.

use super::column::{Columns, at, field, flags, numbers, optional, texts};
use super::row::TableRow;
use crate::error::Result;
use crate::ids::Site;
use crate::matching::{OverCounts, Significance};
use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt32Type, UInt64Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// One latent's best partner over all places of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct BestOverRow {
    /// Place of the latent.
    pub site: Arc<Site>,
    /// The latent there.
    pub latent: u32,
    /// Model whose places compete.
    pub target_model: Arc<str>,
    /// How many do.
    pub places: u32,
    /// The best partner: its place, its number there and Pearson's r; `None` where no correlation is defined.
    pub best: Option<(Arc<Site>, u32, f64)>,
    /// How far above chance it is, the best of as many places.
    pub significance: Significance,
    /// The partner's best over all places of this latent's model is this latent.
    pub mutual: bool,
}

impl TableRow for BestOverRow {
    type Shape = ();
    const TABLE: &'static str = "best_over";
    const ABOUT: &'static str = "Best partner of every latent over all places of each model that it is compared with, beside the best by chance over the same places.";
    const KEY: &'static [&'static str] = &["model", "hookpoint", "target_model", "latent"];

    fn fields((): &()) -> Vec<Field> {
        vec![
            field("model", DataType::Utf8, false, "model of the latent"),
            field("hookpoint", DataType::Utf8, false, "where in it the latent lives"),
            field("latent", DataType::UInt32, false, "the latent"),
            field("target_model", DataType::Utf8, false, "model whose places compete for the best partner"),
            field("places", DataType::UInt32, false, "how many of its places are compared with the latent's"),
            field("target_hookpoint", DataType::Utf8, true, "place of the best partner; null where no r is defined"),
            field("target_latent", DataType::UInt32, true, "the best partner; ties go to the lower place, then latent"),
            field("correlation", DataType::Float64, true, "Pearson's r with it"),
            field(
                "null_correlation",
                DataType::Float64,
                true,
                "highest r over the same places when their rows are another document's: the chance level",
            ),
            field(
                "chance_point",
                DataType::Float64,
                true,
                "95 % point of the chance levels among latents of this place that fire about as often",
            ),
            field("p_value", DataType::Float64, true, "(c + 1) / (n + 1), c of n such chance levels reaching this r"),
            field(
                "q_value",
                DataType::Float64,
                true,
                "false-discovery rate (Benjamini-Hochberg) over all latents of the model that are compared with the other",
            ),
            field(
                "margin",
                DataType::Float64,
                true,
                "r less that of the best partner in another place; null without one",
            ),
            field("mutual", DataType::Boolean, false, "each is the other's best over all places of the two models"),
        ]
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let best = |of: fn(&(Arc<Site>, u32, f64)) -> f64| {
            optional::<Float64Type>(rows.iter().map(move |r| r.best.as_ref().map(of)))
        };
        let chance = |of: fn(&Significance) -> Option<f64>| {
            optional::<Float64Type>(rows.iter().map(move |r| of(&r.significance)))
        };
        let hookpoint = |r: &Self| r.best.as_ref().map(|(site, ..)| site.place());
        vec![
            texts(rows.iter().map(|r| r.site.model.as_str())),
            texts(rows.iter().map(|r| r.site.place())),
            numbers::<UInt32Type>(rows.iter().map(|r| r.latent)),
            texts(rows.iter().map(|r| &r.target_model)),
            numbers::<UInt32Type>(rows.iter().map(|r| r.places)),
            Arc::new(rows.iter().map(hookpoint).collect::<StringArray>()),
            optional::<UInt32Type>(rows.iter().map(|r| r.best.as_ref().map(|(_, latent, _)| *latent))),
            best(|(.., r)| *r),
            chance(|s| s.null_correlation),
            chance(|s| s.point),
            chance(|s| s.p_value),
            chance(|s| s.q_value),
            chance(|s| s.margin),
            flags(rows.iter().map(|r| r.mutual)),
        ]
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let sites = columns.sites("model", "hookpoint")?;
        let count = |name: &str| columns.numbers::<UInt32Type>(name);
        let (latent, places, partner) = (count("latent")?, count("places")?, count("target_latent")?);
        let (model, hookpoint) = (columns.texts("target_model")?, columns.texts("target_hookpoint")?);
        let number = |name: &str| columns.numbers::<Float64Type>(name);
        let (r, null, point) = (number("correlation")?, number("null_correlation")?, number("chance_point")?);
        let (p_value, q_value, margin) = (number("p_value")?, number("q_value")?, number("margin")?);
        let mutual = columns.flags("mutual")?;
        let row = |(i, site): (usize, Arc<Site>)| {
            let there = |place: &str| {
                Site::of(model.value(i), place).map_err(|e| columns.wrong("target_hookpoint", &e.to_string()))
            };
            let place = hookpoint.is_valid(i).then(|| there(hookpoint.value(i))).transpose()?;
            Ok(BestOverRow {
                site,
                latent: latent.value(i),
                target_model: model.value(i).into(),
                places: places.value(i),
                best: place.zip(at(partner, i)).zip(at(r, i)).map(|((place, latent), r)| (Arc::new(place), latent, r)),
                significance: Significance {
                    null_correlation: at(null, i),
                    point: at(point, i),
                    p_value: at(p_value, i),
                    q_value: at(q_value, i),
                    margin: at(margin, i),
                },
                mutual: mutual.value(i),
            })
        };
        sites.into_iter().enumerate().map(row).collect()
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |r: &Self| (r.site.clone(), r.target_model.clone(), r.latent);
        key(self).cmp(&key(other))
    }

    fn name(&self) -> String {
        format!("{}/{} over {}", self.site, self.latent, self.target_model)
    }
}

/// Counts over the best partners of two models' latents, all places of both together; of the source model first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BestOverCounts {
    /// The two models; of two places of one model the same name twice.
    pub models: [String; 2],
    /// What is counted.
    pub counts: OverCounts,
}

/// A column: its name, its meaning, and where it is in the counts.
type Part<T> = (&'static str, &'static str, fn(&mut OverCounts) -> &mut T);

const PLACES: [Part<u32>; 2] = [
    ("source_places", "places of the source model that are compared", |c| &mut c.n_places[0]),
    ("target_places", "places of the target model that are compared", |c| &mut c.n_places[1]),
];

const COUNTS: [Part<u64>; 3] = [
    ("n_best_forward", "latents of the source model that have a best partner", |c| &mut c.n_best[0]),
    ("n_best_backward", "latents of the target model that have a best partner", |c| &mut c.n_best[1]),
    ("n_mutual", "pairs of latents that are each other's best over all places", |c| &mut c.n_mutual),
];

/// Null without a chance level.
const CHANCES: [Part<Option<u64>>; 7] = [
    ("n_mutual_null", "the same of rows of other documents: what chance gives", |c| &mut c.n_mutual_null),
    ("n_mutual_above_chance", "those whose r is above the chance points of both", |c| &mut c.n_mutual_above_chance),
    ("n_mutual_above_chance_null", "the same by chance", |c| &mut c.n_mutual_above_chance_null),
    ("n_above_chance_forward", "latents of the source model whose best r is above their chance point", |c| {
        &mut c.n_above_chance[0]
    }),
    ("n_above_chance_forward_null", "the same by chance: at most one in twenty", |c| &mut c.n_above_chance_null[0]),
    ("n_above_chance_backward", "latents of the target model whose best r is above their chance point", |c| {
        &mut c.n_above_chance[1]
    }),
    ("n_above_chance_backward_null", "the same by chance", |c| &mut c.n_above_chance_null[1]),
];

const MEANS: [Part<Option<f64>>; 4] = [
    ("mean_best_correlation_forward", "mean best r of the source model's latents", |c| &mut c.mean_best[0]),
    ("null_mean_best_correlation_forward", "the same by chance", |c| &mut c.mean_best_null[0]),
    ("mean_best_correlation_backward", "mean best r of the target model's latents", |c| &mut c.mean_best[1]),
    ("null_mean_best_correlation_backward", "the same by chance", |c| &mut c.mean_best_null[1]),
];

impl TableRow for BestOverCounts {
    type Shape = ();
    const TABLE: &'static str = "best_over_counts";
    const ABOUT: &'static str = "Of each two models, how many latents have a best partner above chance over all places, and how many are each other's best.";
    const KEY: &'static [&'static str] = &["source_model", "target_model"];

    fn fields((): &()) -> Vec<Field> {
        let mut fields = vec![
            field("source_model", DataType::Utf8, false, "the one model"),
            field(
                "target_model",
                DataType::Utf8,
                false,
                "the other; the same name where places of one model are compared",
            ),
        ];
        fields.extend(PLACES.iter().map(|(name, about, _)| field(name, DataType::UInt32, false, about)));
        fields.extend(COUNTS.iter().map(|(name, about, _)| field(name, DataType::UInt64, false, about)));
        fields.extend(CHANCES.iter().map(|(name, about, _)| field(name, DataType::UInt64, true, about)));
        fields.extend(MEANS.iter().map(|(name, about, _)| field(name, DataType::Float64, true, about)));
        fields
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        fn each<'a, T: Copy + 'a>(
            rows: &'a [BestOverCounts],
            of: fn(&mut OverCounts) -> &mut T,
        ) -> impl Iterator<Item = T> + 'a {
            rows.iter().map(move |r| *of(&mut r.counts.clone()))
        }
        let mut arrays = vec![texts(rows.iter().map(|r| &r.models[0])), texts(rows.iter().map(|r| &r.models[1]))];
        arrays.extend(PLACES.iter().map(|(.., of)| numbers::<UInt32Type>(each(rows, *of))));
        arrays.extend(COUNTS.iter().map(|(.., of)| numbers::<UInt64Type>(each(rows, *of))));
        arrays.extend(CHANCES.iter().map(|(.., of)| optional::<UInt64Type>(each(rows, *of))));
        arrays.extend(MEANS.iter().map(|(.., of)| optional::<Float64Type>(each(rows, *of))));
        arrays
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let (source, target) = (columns.texts("source_model")?, columns.texts("target_model")?);
        let row = |i: usize| BestOverCounts {
            models: [source, target].map(|names| names.value(i).to_string()),
            counts: OverCounts::default(),
        };
        let mut out: Vec<BestOverCounts> = (0..columns.len()).map(row).collect();
        for (name, _, of) in PLACES {
            let array = columns.numbers::<UInt32Type>(name)?;
            out.iter_mut().enumerate().for_each(|(i, row)| *of(&mut row.counts) = array.value(i));
        }
        for (name, _, of) in COUNTS {
            let array = columns.numbers::<UInt64Type>(name)?;
            out.iter_mut().enumerate().for_each(|(i, row)| *of(&mut row.counts) = array.value(i));
        }
        for (name, _, of) in CHANCES {
            let array = columns.numbers::<UInt64Type>(name)?;
            out.iter_mut().enumerate().for_each(|(i, row)| *of(&mut row.counts) = at(array, i));
        }
        for (name, _, of) in MEANS {
            let array = columns.numbers::<Float64Type>(name)?;
            out.iter_mut().enumerate().for_each(|(i, row)| *of(&mut row.counts) = at(array, i));
        }
        Ok(out)
    }

    fn order(&self, other: &Self) -> Ordering {
        self.models.cmp(&other.models)
    }

    fn name(&self) -> String {
        self.models.join(" with ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::round_trip;

    #[test]
    fn rows_come_back_with_and_without_a_partner_and_a_chance_level() {
        let row = |place: &str, latent: u32| BestOverRow {
            site: Arc::new(place.parse().unwrap()),
            latent,
            target_model: "b".into(),
            places: 2,
            best: (!latent.is_multiple_of(3))
                .then(|| (Arc::new("b/resid_post.10#seed1".parse().unwrap()), latent * 2, 0.25)),
            significance: Significance {
                null_correlation: latent.is_multiple_of(2).then_some(0.125),
                margin: (latent == 5).then_some(0.0625),
                ..Significance::default()
            },
            mutual: latent == 4,
        };
        let rows = ["a/resid_post.2", "a/resid_post.10"].iter().flat_map(|place| (0..6).map(|i| row(place, i)));
        round_trip((), rows.collect()).unwrap();
        let mut counts = OverCounts { n_places: [2, 3], n_best: [5, 7], n_mutual: 4, ..OverCounts::default() };
        let of = |models: [&str; 2], counts: &OverCounts| BestOverCounts {
            models: models.map(String::from),
            counts: counts.clone(),
        };
        let first = of(["a", "a"], &counts);
        counts.n_above_chance = [Some(3), Some(2)];
        counts.n_mutual_above_chance_null = Some(0);
        counts.mean_best_null = [Some(0.5), None];
        round_trip((), vec![first, of(["a", "b"], &counts)]).unwrap();
    }
}
