//! What do two latents that are listed share? How often both fire, whether it is more than their token, and how far it depends on a few
//! documents. Sums of listed pairs in, figures out.

use crate::moments::{GROUPS, ListedPair, ListedSums, MIN_GIVEN, Since, correlation};
use serde::{Deserialize, Serialize};

/// Correlation given the token from which a match is called one beyond its token.
pub const HOLDS_WITHIN: f64 = 0.3;

/// Share of one latent's firings from which it counts as inside the other, and of both from which they count as the
/// same.
pub const CONTAINED: f64 = 0.8;

/// The figures of a listed pair of latents, over the rows since it was listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Rows since it was listed.
    pub n_rows: u64,
    /// Rows on which both fire.
    pub n_both: u64,
    /// Rows on which the source, and the target, does.
    pub n_active: [u64; 2],
    /// The fewer of the two latents' firings on rows that have a partner.
    pub given_rows: u64,
    /// corr(xₜ, yₛ), s the last row of the same token in another document: what the token alone gives; `None` below [`MIN_GIVEN`] firings of
    /// either side, or where one never changes.
    pub token_correlation: Option<f64>,
    /// Correlation of what is left given the token, Σ(x−x′)(y−y′) / √(Σ(x−x′)² Σ(y−y′)²); `None` likewise, and where the token decides one
    /// side's activation alone.
    pub within_correlation: Option<f64>,
    /// The same with the target's rows those of another document: its chance level.
    pub within_null: Option<f64>,
    /// Of the correlation, by leaving out one of [`GROUPS`] groups of documents at a time; `None` where it is undefined without some group.
    pub sampling_error: Option<f64>,
}

impl Listed {
    /// The figures of a pair's sums.
    pub fn of(since: &Since, sums: &ListedPair) -> Listed {
        let given_rows = sums.n_given[0].min(sums.n_given[1]);
        let enough = given_rows >= MIN_GIVEN;
        let plain = PlainGiven::of(since, sums);
        Listed {
            n_rows: since.rows.iter().sum(),
            n_both: sums.n_both,
            n_active: sums.n_active,
            given_rows,
            token_correlation: plain.token.filter(|_| enough),
            within_correlation: plain.within.filter(|_| enough),
            within_null: plain.within_null.filter(|_| enough),
            sampling_error: jackknife(since, sums),
        }
    }

    /// Rows on which both fire over rows on which one does; `None` where none does.
    pub fn jaccard(&self) -> Option<f64> {
        let either = self.n_active[0] + self.n_active[1] - self.n_both;
        (either > 0).then(|| self.n_both as f64 / either as f64)
    }

    /// Share of the firings of side `k` (0 the source, 1 the target) on which the other fires.
    pub fn share_of(&self, k: usize) -> Option<f64> {
        (self.n_active[k] > 0).then(|| self.n_both as f64 / self.n_active[k] as f64)
    }

    /// Pearson's r of firing or not, φ; `None` where a side fires always or never.
    pub fn phi(&self) -> Option<f64> {
        let n = self.n_rows as f64;
        let [a, b] = self.n_active.map(|v| v as f64);
        let scale = (a * (n - a) * b * (n - b)).sqrt();
        (scale > 0.0).then(|| (self.n_both as f64 * n - a * b) / scale)
    }
}

/// How two latents lie to each other by the rows on which they fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Each fires nearly wherever the other does.
    Same,
    /// The target fires nearly wherever the source does, and elsewhere too: the source is a part of it.
    SourceInTarget,
    /// The other way round.
    TargetInSource,
    /// Neither.
    Overlap,
}

impl Relation {
    /// Of the share of the source's firings on which the target fires, and of the target's on which the source does.
    pub fn of(target_given_source: f64, source_given_target: f64) -> Relation {
        match (target_given_source >= CONTAINED, source_given_target >= CONTAINED) {
            (true, true) => Relation::Same,
            (true, false) => Relation::SourceInTarget,
            (false, true) => Relation::TargetInSource,
            (false, false) => Relation::Overlap,
        }
    }
}

/// The correlations of rows with their partners, however few there are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct PlainGiven {
    token: Option<f64>,
    within: Option<f64>,
    within_null: Option<f64>,
}

impl PlainGiven {
    fn of(since: &Since, sums: &ListedPair) -> PlainGiven {
        let [xy, xx, yy] = sums.within;
        let over = |xy: f64| (xx > 0.0 && yy > 0.0).then(|| (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0));
        PlainGiven {
            token: correlation(since.given as f64, sums.token),
            within: over(xy),
            within_null: over(sums.within_null),
        }
    }
}

/// √((G−1)/G Σ(r₋g − r̄)²) over the G groups that have rows, r₋g the correlation without group g (the delete-one-group jackknife).
fn jackknife(since: &Since, sums: &ListedPair) -> Option<f64> {
    let groups: Vec<usize> = (0..GROUPS).filter(|g| since.rows[*g] > 0).collect();
    let without = |g: usize| {
        let others = || groups.iter().filter(move |other| **other != g);
        let n: u64 = others().map(|g| since.rows[*g]).sum();
        let mut of_others = [0.0; 5];
        others().for_each(|g| of_others.iter_mut().zip(sums.by_group[*g]).for_each(|(a, b)| *a += b));
        correlation(n as f64, of_others)
    };
    let r: Vec<f64> = groups.iter().map(|g| without(*g)).collect::<Option<_>>()?;
    let n = r.len() as f64;
    let mean = r.iter().sum::<f64>() / n;
    (r.len() > 1).then(|| ((n - 1.0) / n * r.iter().map(|r| (r - mean).powi(2)).sum::<f64>()).sqrt())
}

/// The figures of every listed pair of two spaces, in order of source, then target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListedFigures {
    pairs: Vec<(u32, u32)>,
    figures: Vec<Listed>,
}

impl ListedFigures {
    /// Of these sums.
    pub fn of(sums: &ListedSums) -> Self {
        let (pairs, figures) = sums.entries().map(|(i, j, since, pair)| ((i, j), Listed::of(since, pair))).unzip();
        ListedFigures { pairs, figures }
    }

    /// Of a pair of latents, where it is listed.
    pub fn find(&self, source: u32, target: u32) -> Option<&Listed> {
        self.pairs.binary_search(&(source, target)).ok().map(|k| &self.figures[k])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Document, TokenBatch};
    use crate::moments::{
        Accumulator, ByLatent, GivenSums, ListedBatch, ListedSide, Partner, PartnerIndex, Partners, RowKey, RowMemory,
        differences,
    };
    use crate::sae::LatentBatch;
    use proptest::prelude::*;

    /// A row: document, token, x, y.
    type PlainRow = (u64, u32, f32, f32);

    fn batch(rows: &[PlainRow]) -> (TokenBatch, [LatentBatch; 2]) {
        let mut tokens = TokenBatch::new(0, 0);
        let mut starts = Vec::new();
        for (p, (document, ..)) in rows.iter().enumerate() {
            if tokens.documents.last().is_none_or(|d| d.number != *document) {
                starts.push((p as u32, tokens.documents.len() as u32));
                tokens.documents.push(Document { number: *document, record: *document, ..Document::default() });
            }
        }
        tokens.push(rows.iter().map(|r| r.1).collect(), &vec![true; rows.len()], &starts);
        let column = |of: &dyn Fn(&PlainRow) -> f32| {
            let mut out = LatentBatch { d_sae: 1, row_starts: vec![0], ..LatentBatch::default() };
            for value in rows.iter().map(of) {
                if value != 0.0 {
                    out.latents.push(0);
                    out.values.push(value);
                }
                out.row_starts.push(out.latents.len() as u32);
            }
            out
        };
        (tokens, [column(&|r| r.2), column(&|r| r.3)])
    }

    struct Folded {
        partners: Vec<Option<Partner>>,
        sums: ListedSums,
        given: [GivenSums; 2],
    }

    /// The one pair of latents over all rows, in batches that end where `ends` say.
    fn folded(rows: &[PlainRow], ends: &[usize], key: RowKey) -> Folded {
        let mut index = PartnerIndex::new(key, 64);
        let mut memories = [(); 2].map(|()| RowMemory::new(1, index.n_cells()));
        let mut out =
            Folded { partners: Vec::new(), sums: ListedSums::new(1, 1), given: [(); 2].map(|()| GivenSums::new(1)) };
        out.sums.list(&[(0, 0)]);
        let mut from = 0;
        for &to in ends.iter().chain([&rows.len()]) {
            let (tokens, latents) = batch(&rows[from..to]);
            from = to;
            let partners: Partners = index.next(&tokens, &tokens.views[0]);
            let of_partners = [0, 1].map(|k: usize| memories[k].next(&partners, &latents[k]));
            for k in 0..2 {
                out.given[k].fold((&partners, &latents[k], &of_partners[k])).unwrap();
            }
            let turned = [0, 1].map(|k: usize| {
                let difference = differences(&latents[k], &of_partners[k], &partners);
                [&latents[k], &of_partners[k], &difference].map(ByLatent::new)
            });
            let side = |k: usize| {
                let [own, partner, difference] = &turned[k];
                ListedSide { own, partner, difference }
            };
            let n = tokens.n_rows();
            let given: Vec<bool> = partners.of_rows.iter().map(Option::is_some).collect();
            let beside: Vec<u32> = (0..n as u32).map(|r| (r + 1) % n as u32).collect();
            let groups: Vec<u8> = (0..n).map(|r| (tokens.document_of(r).number % GROUPS as u64) as u8).collect();
            out.sums
                .fold(ListedBatch { sides: [side(0), side(1)], groups: &groups, given: &given, beside: &beside })
                .unwrap();
            out.partners.extend(&partners.of_rows);
        }
        out
    }

    fn near(got: Option<f64>, want: f64) {
        assert!(got.is_some_and(|got| (got - want).abs() < 1e-9), "{got:?}, expected {want}");
    }

    const V6: [PlainRow; 8] = [
        (0, 0, 2.0, 1.0),
        (0, 0, 1.5, 2.0),
        (1, 0, 2.5, 1.5),
        (1, 1, 0.0, 0.0),
        (2, 1, 0.0, 0.5),
        (2, 2, 1.0, 3.0),
        (3, 0, 2.0, 1.0),
        (3, 1, 0.5, 0.0),
    ];

    #[test]
    fn the_check_vector_of_tokens() {
        let all = folded(&V6, &[], RowKey::Token);
        let partners = [None, None, Some(1), None, Some(3), None, Some(2), Some(4)];
        assert_eq!(all.partners, partners.map(|p| p.map(Partner::Row)));
        let (_, _, since, sums) = all.sums.entries().next().unwrap();
        let plain = PlainGiven::of(since, sums);
        assert_eq!((since.rows.iter().sum::<u64>(), since.given), (8, 4));
        near(plain.within, -0.408_248_290_5);
        near(plain.token, 0.997_054_485_5);
        near(all.given[0].share_of_any(0), 0.857_492_925_7);
        let listed = Listed::of(since, sums);
        assert_eq!(
            (listed.within_correlation, listed.token_correlation, listed.given_rows),
            (None, None, 3),
            "too few to say"
        );
        assert_eq!(all.given[0].share(0), None);
    }

    #[test]
    fn the_check_vector_of_firings() {
        let x = [1.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0, 1.0];
        let z = [1.0, 0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 1.0];
        let rows: Vec<PlainRow> = (0..8).map(|r| (r as u64, 0, x[r], z[r])).collect();
        let all = folded(&rows, &[3], RowKey::Token);
        let (_, _, since, sums) = all.sums.entries().next().unwrap();
        let listed = Listed::of(since, sums);
        assert_eq!((listed.n_rows, listed.n_both, listed.n_active), (8, 3, [4, 4]));
        near(listed.jaccard(), 0.6);
        near(listed.phi(), 0.5);
        near(listed.share_of(0), 0.75);
        assert_eq!(Relation::of(0.75, 0.75), Relation::Overlap);
        assert_eq!(Relation::of(0.9, 0.9), Relation::Same);
        assert_eq!(Relation::of(0.9, 0.2), Relation::SourceInTarget);
        assert_eq!(Relation::of(0.2, 0.8), Relation::TargetInSource);
    }

    #[test]
    fn what_the_token_decides_alone_has_no_correlation_given_it() {
        let rows: Vec<PlainRow> =
            (0..200).map(|r| (r / 3, (r % 7) as u32, (r % 7) as f32, if r % 2 == 0 { 1.0 } else { 0.0 })).collect();
        let all = folded(&rows, &[50], RowKey::Token);
        let (_, _, since, sums) = all.sums.entries().next().unwrap();
        let listed = Listed::of(since, sums);
        assert_eq!((listed.within_correlation, sums.within[1]), (None, 0.0));
        assert!(listed.token_correlation.is_some() && listed.given_rows > 20);
        assert_eq!(all.given[0].share(0), Some(1.0));
    }

    proptest! {
        /// Everything from whole columns, plainly; and batches that end anywhere change no bit but the chance level's.
        #[test]
        fn sums_are_the_plain_ones_however_rows_are_cut(
            rows in prop::collection::vec((0u64..4, 0u32..5, prop_oneof![Just(0.0f32), 0.1f32..3.0], prop_oneof![Just(0.0f32), -2.0f32..3.0]), 1..60),
            cut in prop::collection::btree_set(1usize..60, 0..6),
            bigram in any::<bool>(),
        ) {
            // documents come one behind the other
            let mut number = 0;
            let rows: Vec<PlainRow> = rows.into_iter().map(|(step, v, x, y)| { number += u64::from(step == 0); (number, v, x, y) }).collect();
            let key = if bigram { RowKey::Bigram } else { RowKey::Token };
            let ends: Vec<usize> = cut.into_iter().filter(|&c| c < rows.len()).collect();
            let (all, parts) = (folded(&rows, &[], key), folded(&rows, &ends, key));
            let key_of = |r: usize| match key {
                RowKey::Bigram => (r > 0 && rows[r - 1].0 == rows[r].0).then(|| (rows[r - 1].1, rows[r].1)),
                _ => Some((0, rows[r].1)),
            };
            // the last row of the same key of a document before the row's own
            let partner = |r: usize| {
                let key = key_of(r)?;
                (0..r).rev().find(|&s| rows[s].0 != rows[r].0 && key_of(s) == Some(key))
            };
            if key == RowKey::Token {
                let plain: Vec<Option<Partner>> = (0..rows.len()).map(|r| partner(r).map(|s| Partner::Row(s as u32))).collect();
                prop_assert_eq!(&all.partners, &plain);
            } else {
                // two bigrams may share a slot, and then neither remembers the other's rows
                for (r, found) in all.partners.iter().enumerate() {
                    prop_assert!(found.is_none() || partner(r).is_some());
                }
            }
            let [whole, cut] = [&all, &parts].map(|f| {
                let (_, _, since, sums) = f.sums.entries().next().unwrap();
                let mut sums = *sums;
                sums.within_null = 0.0;
                (*since, sums)
            });
            prop_assert_eq!(whole, cut);
            prop_assert_eq!(&all.given, &parts.given);
            let (since, sums) = whole;
            let pairs: Vec<(usize, usize)> = (0..rows.len()).filter_map(|r| match all.partners[r] {
                Some(Partner::Row(s)) => Some((r, s as usize)),
                _ => None,
            }).collect();
            prop_assert_eq!(since.given, pairs.len() as u64);
            let (x, y) = (|r: usize| f64::from(rows[r].2), |r: usize| f64::from(rows[r].3));
            let sum = |of: &dyn Fn(usize, usize) -> f64| pairs.iter().map(|&(t, s)| of(t, s)).sum::<f64>();
            let plain = [
                (sums.token[4], sum(&|t, s| x(t) * y(s))),
                (sums.within[0], 0.5 * sum(&|t, s| f64::from(rows[t].2 - rows[s].2) * f64::from(rows[t].3 - rows[s].3))),
                (sums.within[1], 0.5 * sum(&|t, s| f64::from(rows[t].2 - rows[s].2).powi(2))),
                (sums.token[3], sum(&|_, s| y(s) * y(s))),
            ];
            for (got, want) in plain {
                prop_assert!((got - want).abs() < 1e-9, "{} {}", got, want);
            }
            if let Some(within) = PlainGiven::of(&since, &sums).within {
                prop_assert!((-1.0..=1.0).contains(&within));
            }
        }
    }

    #[test]
    fn the_jackknife_is_the_plain_one_and_null_where_one_group_is_needed() {
        let mut stream = crate::linalg::Stream::new(3, "jackknife", 0);
        let mut uniform = || (stream.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
        let rows: Vec<PlainRow> = (0..600)
            .map(|r| {
                let x = uniform();
                (r / 10, 0, x, 0.5 * x + uniform())
            })
            .collect();
        let all = folded(&rows, &[100], RowKey::Token);
        let (_, _, since, sums) = all.sums.entries().next().unwrap();
        let r = |skip: Option<u64>| {
            let of: Vec<&PlainRow> = rows.iter().filter(|row| Some(row.0 % 16) != skip).collect();
            let n = of.len() as f64;
            let mean = |f: &dyn Fn(&PlainRow) -> f64| of.iter().map(|row| f(row)).sum::<f64>() / n;
            let (mx, my) = (mean(&|r| f64::from(r.2)), mean(&|r| f64::from(r.3)));
            let c = |f: &dyn Fn(&PlainRow) -> f64| mean(f);
            c(&|r| (f64::from(r.2) - mx) * (f64::from(r.3) - my))
                / (c(&|r| (f64::from(r.2) - mx).powi(2)) * c(&|r| (f64::from(r.3) - my).powi(2))).sqrt()
        };
        let without: Vec<f64> = (0..16).map(|g| r(Some(g))).collect();
        let mean = without.iter().sum::<f64>() / 16.0;
        let want = (15.0 / 16.0 * without.iter().map(|r| (r - mean).powi(2)).sum::<f64>()).sqrt();
        near(Listed::of(since, sums).sampling_error, want);
        // (1 − r²)/√N, as the rows are independent
        let usual = (1.0 - r(None).powi(2)) / 600f64.sqrt();
        assert!((0.5..2.0).contains(&(want / usual)), "{want} {usual}");
        let once: Vec<PlainRow> =
            (0..60).map(|r| (r / 2, 0, if r == 5 { 1.0 } else { 0.0 }, if r == 5 { 2.0 } else { 0.0 })).collect();
        let all = folded(&once, &[], RowKey::Token);
        let (_, _, since, sums) = all.sums.entries().next().unwrap();
        assert_eq!(Listed::of(since, sums).sampling_error, None, "all of it is one document");
    }

    #[test]
    fn what_is_listed_again_goes_on_and_what_is_new_begins_at_nothing() {
        let mut sums = ListedSums::new(2, 3);
        sums.list(&[(0, 1), (1, 2)]);
        let latents = |of: &[u32], d_sae: usize| LatentBatch {
            d_sae,
            row_starts: (0..=of.len() as u32).collect(),
            latents: of.to_vec(),
            values: vec![1.0; of.len()],
            ..LatentBatch::default()
        };
        let (own, other) = (ByLatent::new(&latents(&[0, 1, 0], 2)), ByLatent::new(&latents(&[1, 2, 1], 3)));
        let none =
            |d_sae: usize| ByLatent::new(&LatentBatch { d_sae, row_starts: vec![0; 4], ..LatentBatch::default() });
        let (no_source, no_target) = (none(2), none(3));
        let sides = [
            ListedSide { own: &own, partner: &no_source, difference: &no_source },
            ListedSide { own: &other, partner: &no_target, difference: &no_target },
        ];
        let fold = |sums: &mut ListedSums| {
            sums.fold(ListedBatch { sides, groups: &[0, 1, 1], given: &[false; 3], beside: &[1, 2, 0] }).unwrap();
        };
        fold(&mut sums);
        sums.list(&[(0, 0), (0, 1)]);
        fold(&mut sums);
        let figures = ListedFigures::of(&sums);
        let of = |i, j| figures.find(i, j).map(|l| (l.n_rows, l.n_both, l.n_active));
        assert_eq!(of(0, 1), Some((6, 4, [4, 4])));
        assert_eq!(of(0, 0), Some((3, 0, [2, 0])));
        assert_eq!(of(1, 2), None);
        let both = {
            let mut both = sums.clone();
            both.merge(&sums).unwrap();
            ListedFigures::of(&both)
        };
        assert_eq!(both.find(0, 1).map(|l| (l.n_rows, l.n_both)), Some((12, 8)));
        let mut fewer = sums.clone();
        fewer.list(&[(0, 1)]);
        sums.merge(&fewer).unwrap();
        assert_eq!(sums.len(), 1, "what only one has counted is not listed");
    }
}
