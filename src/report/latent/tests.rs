//! The card of a made-up latent.

use super::LatentCard;
use crate::ids::Site;
use crate::matching::groups::GroupKind;
use crate::matching::{Direction, Significance};
use crate::report::Marker;
use crate::table::{
    CosineScores, CycleRow, GroupRow, GroupSizeRow, LabelColumn, LabelSum, LatentRow, ListedCells, LogitScores,
    MatchRow, Missing, PairCounts, PairRow, ReadoutNumbers, ReadoutRow, RowCosines, SitePair, TopTokenCell, Verdict,
    write_table,
};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

fn tables(dir: &Path) {
    let pair = Arc::new(SitePair { source: "a/embed".parse().unwrap(), target: "b/embed".parse().unwrap() });
    let latent = |site: &Site, latent: u32, alive: bool, token: &str| LatentRow {
        documents: 2,
        given_rows: Some(30),
        token_share: Some(0.25),
        site: Arc::new(site.clone()),
        latent,
        n_active: 4 * u64::from(alive),
        frequency: 0.5,
        mean: 1.0,
        std: 2.0,
        max: alive.then_some(3.0),
        alive,
        top: if alive {
            vec![TopTokenCell {
                token: token.into(),
                value: 3.0,
                context: format!("left\x1b[31m{token}\u{202e}right"),
                document: "d".into(),
            }]
        } else {
            vec![]
        },
        categories: None,
        labels: vec![Some(LabelSum { n_active: 1, sum: 1.0 }), Some(LabelSum { n_active: 3, sum: 1.0 })],
    };
    let labels = ["de", "en"].map(|v| LabelColumn { field: "lang".into(), value: v.into() }).to_vec();
    let rows = [(&pair.source, 0, true), (&pair.source, 1, false), (&pair.target, 0, true), (&pair.target, 1, true)]
        .map(|(s, l, alive)| latent(s, l, alive, &format!(" w{}{l}", s.model)));
    write_table(&dir.join("latents.parquet"), labels, &Default::default(), rows).unwrap();
    let row = |s, t, r, rank, direction, dropped: Option<&str>| MatchRow {
        cosines: Default::default(),
        listed: Default::default(),
        pair: pair.clone(),
        source_latent: s,
        target_latent: t,
        correlation: r,
        significance: Significance::default(),
        exact_tokens: 9,
        sketch_error: Some(0.0),
        rank,
        direction,
        mutual: rank == 1 && t == Some(1) && s == Some(0),
        kept: dropped.is_none(),
        dropped_by: dropped.map(String::from),
    };
    let rows = [
        MatchRow {
            cosines: RowCosines { mapped: Some(0.5), logits: Some(0.375), ..RowCosines::default() },
            listed: ListedCells {
                given_rows: Some(53),
                within_correlation: Some(0.625),
                null_within_correlation: Some(0.0),
                ..ListedCells::default()
            },
            significance: Significance { point: Some(0.0625), ..Significance::default() },
            ..row(Some(0), Some(1), Some(0.75), 1, Direction::Forward, None)
        },
        row(Some(0), Some(0), Some(0.25), 2, Direction::Forward, Some("rank")),
        row(Some(1), None, None, 1, Direction::Forward, Some("dead")),
        row(Some(0), Some(0), Some(0.25), 1, Direction::Backward, Some("min_correlation")),
        MatchRow {
            cosines: RowCosines { mapped: Some(0.25), ..RowCosines::default() },
            ..row(Some(0), Some(1), Some(0.75), 1, Direction::Backward, None)
        },
    ];
    write_table(&dir.join("matches.parquet"), (), &Default::default(), rows).unwrap();
    let mapped =
        CosineScores { mean: Some(0.5), null_mean: Some(0.125), null_point: Some(0.1875), share_above: Some(1.0) };
    let whole = PairRow {
        dictionary: Default::default(),
        mapped,
        logits: LogitScores::default(),
        pair: pair.clone(),
        tokens: 9,
        documents: 2,
        own_document_share: None,
        too_few: None,
        no_chance: None,
        one_decoder: false,
        n_own_partner: None,
        n_own_partner_null: None,
        n_latents_source: 2,
        n_latents_target: 2,
        counts: PairCounts::default(),
    };
    write_table(&dir.join("pairs.parquet"), (), &Default::default(), [whole]).unwrap();
    let member = |group: u32, site: &Site, latent: u32, missing: Vec<Missing>| GroupRow {
        group,
        size: 2,
        models: 2,
        kind: GroupKind::Clique,
        edges: 1,
        edges_possible: 1,
        min_correlation: 0.75,
        mean_correlation: 0.75,
        min_within: Some(0.5),
        site: Arc::new(site.clone()),
        latent,
        frequency: 0.5,
        degree: 1,
        best: true,
        top: vec![" wb1".into()],
        missing,
    };
    let missing = vec![
        Missing {
            model: "c".into(),
            hookpoint: Some("embed".into()),
            latent: Some(3),
            correlation: Some(0.125),
            readout_r2: Some(0.375),
            readout_point: Some(0.0625),
        },
        Missing {
            model: "d".into(),
            hookpoint: None,
            latent: None,
            correlation: None,
            readout_r2: None,
            readout_point: None,
        },
    ];
    let rows = [
        member(1, &pair.source, 7, vec![]),
        member(1, &pair.target, 7, vec![]),
        member(2, &pair.source, 0, missing.clone()),
        member(2, &pair.target, 1, missing),
    ];
    write_table(&dir.join("groups.parquet"), (), &Default::default(), rows).unwrap();
    let size = |places: u32, groups: u64, null: u64| GroupSizeRow {
        models: 2,
        places,
        groups,
        null_groups: Some(null),
        complete: groups,
        null_complete: Some(null),
    };
    write_table(&dir.join("group_sizes.parquet"), (), &Default::default(), [size(3, 40, 1), size(2, 960, 2)]).unwrap();
    write_table::<CycleRow>(&dir.join("cycles.parquet"), (), &Default::default(), []).unwrap();
    let read = |direction, latent, r_squared, point, verdict| ReadoutRow {
        pair: pair.clone(),
        direction,
        latent,
        partner: None,
        found: ReadoutNumbers { r_squared, chance_point: point, ..ReadoutNumbers::default() },
        verdict,
        by_chance: None,
    };
    let rows = [
        read(Direction::Forward, 0, Some(0.5), Some(0.0625), Some(Verdict::Readable)),
        read(Direction::Forward, 1, None, None, None),
        read(Direction::Backward, 0, Some(0.25), None, None),
    ];
    write_table(&dir.join("readout.parquet"), (), &Default::default(), rows).unwrap();
}

#[test]
fn a_card_has_both_directions_and_nothing_that_drives_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    tables(dir.path());
    let (site, marker) = ("a/embed".parse().unwrap(), Marker::new(None, [12, 4]));
    let card = LatentCard::read(dir.path(), &site, 0).unwrap();
    let text = card.as_text(&marker, 80);
    for part in [
        "fired on   4 tokens",
        "lang       en 75.0 %  de 25.0 %",
        "left\\u{1b}[31m[ wa0]\\u{202e}right",
        "b/embed/1  r 0.7500  chance unknown  95 % point 0.0625\n             given the token 0.6250 on 53 rows  by chance 0.0000 (one draw)\n             mapped cosine 0.5000  by chance 0.1250  95 % point 0.1875\n             logit cosine 0.3750  chance unknown  rank 1  mutual  kept  \" wb1\"",
        "b/embed/0  r 0.2500  95 % point of the best 0.0625\n             given the token: not counted  rank 2  \" wb0\"",
        "is the best partner of\n  b/embed/0  r 0.2500  chance unknown  given the token: not counted\n             dropped by min_correlation",
        "is in group 2\n  clique of 2 latents of 2 models  one of 1 000 groups over 2 models (chance 3)\n  1 of 1 compared pairs of models match\n  best r between two models: lowest 0.7500  mean 0.7500",
        "  a/embed/0  r 0.7500 with b/embed/1  95 % point 0.0625\n  b/embed/1  r 0.7500 with a/embed/0  95 % point 0.0625  \" wb1\"\n  lacks c  closest embed/3  r 0.1250  read out of it R² 0.3750\n           95 % point 0.0625\n  lacks d  not compared with any of them",
        "read out of other activations\n  b/embed  R² 0.5000  95 % point 0.0625  readable  the other model has it\n           its SAE has no such latent\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}'));
    let narrow = card.as_text(&marker, 48);
    assert!(narrow.lines().all(|l| l.chars().count() <= 48) && narrow.lines().count() >= text.lines().count());
    let json = card.as_json(&marker);
    assert_eq!(json["top"][0]["strong"], json!([9, 13]));
    assert_eq!(json["partners"].as_array().unwrap().len(), 4);
    assert_eq!(json["group"]["members"][1]["site"], "b/embed");
    let neighbour = json!({ "site": "a/embed", "latent": 0, "correlation": 0.75, "chance_point": 0.0625 });
    assert_eq!(json["group"]["members"][1]["neighbours"], json!([neighbour]));
    assert_eq!(json["group"]["groups_of_this_size_null"], 3);
    assert_eq!(json["partners"][0]["chance"]["mapped_decoder_cosine"]["null_point"], 0.1875);
    assert_eq!(json["group"]["missing"][0]["correlation"], 0.125);
    assert_eq!((&json["readout"][0]["verdict"], &json["readout"][1]), (&json!("readable"), &Value::Null));
    // the way back has no chance level of its own
    let back = LatentCard::read(dir.path(), &"b/embed".parse().unwrap(), 1).unwrap().as_text(&marker, 140);
    assert!(back.contains("mapped cosine 0.2500  by chance 0.1250 (forward)"), "{back}");
    let other = LatentCard::read(dir.path(), &"b/embed".parse().unwrap(), 0).unwrap().as_text(&marker, 80);
    assert!(other.contains("  a/embed  R² 0.2500  chance unknown  undecided\n"), "{other}");

    assert!(LatentCard::read(dir.path(), &site, 1).unwrap().as_text(&marker, 80).contains("dead: it fired on no"));
    let far = LatentCard::read(dir.path(), &site, 2).unwrap_err().to_string();
    assert!(far.contains("has 2 latents, 0 to 1"), "{far}");
    let none = LatentCard::read(dir.path(), &"c/embed".parse().unwrap(), 0).unwrap_err().to_string();
    assert!(none.contains("this run has no c/embed; it has a/embed, b/embed"), "{none}");
}
