//! Each verdict from readings that are written down.

use super::*;

fn reading(fvu: f64) -> Configuration {
    Configuration {
        hookpoint: Hookpoint::ResidPost(1),
        subtract_b_dec: true,
        scale: 1.0,
        center: false,
        declared: false,
        fvu: Some(fvu),
        l0: 16.0,
        dead_share: 0.0,
    }
}

fn of(declared: f64, others: &[Configuration]) -> Diagnosis {
    let mut readings = vec![Configuration { declared: true, ..reading(declared) }];
    readings.extend_from_slice(others);
    let site = "m/resid_post.1".parse().unwrap();
    Diagnosis {
        site,
        n_tokens: 100,
        control: false,
        random: false,
        any_fvu: false,
        contradictions: Vec::new(),
        readings,
    }
}

#[test]
fn a_worse_fit_than_the_mean_is_wrong_unless_a_control_or_insisted_on() {
    let bad = of(1.49, &[Configuration { center: true, ..reading(1.3) }]);
    assert_eq!((bad.verdict(), bad.is_wrong()), (Verdict::WorseThanMean, true));
    assert!(bad.in_words().contains("worse than the mean: FVU 1.490"), "{}", bad.in_words());
    assert!(of(1.0, &[]).is_wrong() && !of(0.999, &[]).is_wrong());
    let control = Diagnosis { control: true, ..bad.clone() };
    assert_eq!((control.verdict(), control.is_wrong()), (Verdict::Control, false));
    let insisted = Diagnosis { any_fvu: true, ..bad };
    assert_eq!((insisted.verdict(), insisted.is_wrong()), (Verdict::WorseThanMean, false));
    assert_eq!(of(0.8, &[]).verdict(), Verdict::ExplainsLittle);
    assert_eq!(of(0.3, &[]).verdict(), Verdict::Fits);
}

#[test]
fn what_is_better_says_what_to_write() {
    let words = |declared: f64, other: Configuration| of(declared, &[other]).in_words();
    let bias = words(0.9, Configuration { subtract_b_dec: false, ..reading(0.3) });
    assert!(
        bias.contains("with subtract_b_dec = false: FVU 0.300 against 0.900; write subtract_b_dec = false"),
        "{bias}"
    );
    let place = words(0.9, Configuration { hookpoint: Hookpoint::ResidPost(2), ..reading(0.3) });
    assert!(place.contains("at resid_post.2: FVU 0.300 against 0.900; write [saes.\"m/resid_post.2\"]"), "{place}");
    let scale = words(1.5, Configuration { scale: 2.370456, ..reading(0.3) });
    assert!(scale.ends_with("write scale = 2.37"), "{scale}");
    let center = words(1.5, Configuration { center: true, ..reading(0.3) });
    assert!(center.ends_with("write center = true"), "{center}");
}

#[test]
fn another_scale_counts_only_where_the_declared_one_explains_little() {
    let more = Configuration { scale: 2.0, l0: 400.0, ..reading(0.1) };
    assert_eq!(of(0.3, std::slice::from_ref(&more)).verdict(), Verdict::Fits);
    assert_eq!(of(0.9, std::slice::from_ref(&more)).verdict(), Verdict::Better(&more));
}

#[test]
fn a_scale_is_written_with_four_digits() {
    for (scale, text) in
        [(2.370456, "2.37"), (0.0066667, "0.006667"), (112.219, "112.2"), (1234.6, "1235"), (1.0, "1"), (3.0, "3")]
    {
        assert_eq!(rounded(scale), text);
    }
}
