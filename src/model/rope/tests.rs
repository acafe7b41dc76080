//! Rotations at lengths on both sides of the context that a model was trained on, from its configuration to turned features: against
//! plain formulas in f64, and against transformers' own modules.

use super::*;
use crate::model::rotary::Rotary;
use std::f64::consts::PI;

/// Frequencies of the pairs, radians per position, and what cosines and sines are multiplied by.
struct Plain {
    frequencies: Vec<f64>,
    attention: f64,
}

/// A rotary scaling by its paper, from the keys of a configuration, in a context of `n` tokens.
///
/// Linear: Chen et al. 2023, arXiv 2306.15595, equation 4. Dynamic: NTK-aware interpolation with the scale of the context as it is
/// (Peng et al. 2023, arXiv 2309.00071, sections 3.1 and 3.3), written as what each pair's frequency is divided by. YaRN: sections
/// 3.2 and 3.4 there, the blend over the pairs' numbers as in its code and in transformers 5.24. Llama 3: the blend of Llama 3.1's
/// reference code, in turns over the original context. LongRoPE: Ding et al. 2024, arXiv 2402.13753, with the attention factor of
/// Phi-3.
fn plain(case: &Value, n: usize) -> Plain {
    let config = &case["config"];
    let keys = &config["rope_parameters"];
    let number = |key: &str| keys[key].as_f64();
    let (base, before) = (number("rope_theta").unwrap(), case["original_context"].as_f64().unwrap());
    let d = case["d_head"].as_f64().unwrap() * number("partial_rotary_factor").unwrap_or(1.0);
    let unscaled = |pair: f64| base.powf(-2.0 * pair / d);
    let scale = number("factor").unwrap_or_else(|| config["max_position_embeddings"].as_f64().unwrap() / before);
    let turns = |frequency: f64| before * frequency / (2.0 * PI);
    let mut attention = 1.0;
    // what pair i's frequency is multiplied by
    let by: Box<dyn Fn(f64) -> f64> = match keys["rope_type"].as_str().unwrap() {
        "default" => Box::new(|_| 1.0),
        "linear" => Box::new(move |_| 1.0 / scale),
        "dynamic" => {
            let slowest = (scale * (n as f64).max(before) / before - (scale - 1.0)).recip();
            // by nothing at the fastest pair, by `slowest` at the last
            Box::new(move |i| slowest.powf(2.0 * i / (d - 2.0)))
        }
        "llama3" => {
            let (low, high) = (number("low_freq_factor").unwrap(), number("high_freq_factor").unwrap());
            let kept = move |i: f64| ((turns(unscaled(i)) - low) / (high - low)).clamp(0.0, 1.0);
            Box::new(move |i| kept(i) + (1.0 - kept(i)) / scale)
        }
        "yarn" => {
            let of_scale = |m: f64| 0.1 * m * scale.ln() + 1.0;
            attention =
                number("attention_factor").unwrap_or_else(|| match (number("mscale"), number("mscale_all_dim")) {
                    (Some(m), Some(all)) => of_scale(m) / of_scale(all),
                    _ => of_scale(1.0),
                });
            // the number of the pair that turns so often, looked for by halving: more turns, lower numbers
            let pair = |wanted: f64| {
                let (mut low, mut high) = (-d, 4.0 * d);
                for _ in 0..200 {
                    let middle = (low + high) / 2.0;
                    if turns(unscaled(middle)) > wanted { low = middle } else { high = middle }
                }
                low
            };
            let fast = number("beta_fast").unwrap_or(32.0);
            let slow = number("beta_slow").unwrap_or(1.0);
            let (mut first, mut last) = (pair(fast), pair(slow));
            if keys["truncate"] != false {
                (first, last) = (first.floor(), last.ceil());
            }
            (first, last) = (first.max(0.0), last.min(d - 1.0));
            if fast == slow {
                last = first + 0.001;
            }
            let divided = move |i: f64| ((i - first) / (last - first)).clamp(0.0, 1.0);
            Box::new(move |i| 1.0 - divided(i) + divided(i) / scale)
        }
        "longrope" => {
            attention = number("attention_factor").unwrap_or_else(|| (1.0 + scale.ln() / before.ln()).sqrt());
            let key = if n as f64 > before { "long_factor" } else { "short_factor" };
            let factors: Vec<f64> = keys[key].as_array().unwrap().iter().map(|f| f.as_f64().unwrap()).collect();
            Box::new(move |i| 1.0 / factors[i as usize])
        }
        other => panic!("no formula for {other}"),
    };
    let n_pairs = (d / 2.0) as usize;
    Plain { frequencies: (0..n_pairs).map(|i| unscaled(i as f64) * by(i as f64)).collect(), attention }
}

struct Case {
    about: Value,
    rope: Rope,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string("tests/fixtures/rotary.json").unwrap();
    let fixture: Value = serde_json::from_str(&text).unwrap();
    let read = |about: &Value| {
        let Value::Object(config) = &about["config"] else { panic!("{about}") };
        let fraction = Fraction { key: "partial_rotary_factor", default: 1.0, odd: false };
        let keys = RopeKeys { fraction: Some(fraction), ..RopeKeys::whole(2048) };
        let d_head = about["d_head"].as_u64().unwrap() as usize;
        let rope = Config::from_values("config.json".into(), config.clone()).rope(&keys, d_head).unwrap();
        Case { about: about.clone(), rope }
    };
    fixture["cases"].as_array().unwrap().iter().map(read).collect()
}

/// Cosine and sine of every position and pair of a context of `n`.
fn turned(rotary: &Rotary, n: usize) -> Vec<Vec<(f64, f64)>> {
    let (turns, n_pairs) = (rotary.turns(n), rotary.rope().n_pairs());
    let of = |(cos, sin): (&[f32], &[f32])| cos.iter().zip(sin).map(|(&c, &s)| (c.into(), s.into())).collect();
    turns.cos.chunks_exact(n_pairs).zip(turns.sin.chunks_exact(n_pairs)).take(n).map(of).collect()
}

/// What a frequency may be off by, as a share: it is rounded some four times in f32, to 1.2e-7 each (a power, a product, a quotient, a
/// blend).
const FREQUENCY: f64 = 5e-7;

/// What a cosine or sine may be off by: what its angle is, and three roundings of its own.
fn allowed(angle: f64) -> f64 {
    FREQUENCY * (1.0 + angle.abs())
}

#[test]
fn rotations_are_the_plain_ones_at_every_length() {
    let (mut n_met, mut worst) = (0, 0f64);
    for Case { about, rope } in cases() {
        let name = &about["name"];
        // one rotation meets all lengths, shorter ones behind longer ones too
        let rotary = Rotary::new(&rope);
        let before = about["original_context"].as_u64().unwrap() as usize;
        for n in [1, before / 2, 3 * before, before, before + 1, 2, 2 * before, before - 1] {
            let plain = plain(&about, n);
            assert_eq!(plain.frequencies.len(), rope.n_pairs(), "{name}");
            for (i, (want, got)) in plain.frequencies.iter().zip(rope.frequencies(n)).enumerate() {
                let off = (f64::from(got) / want - 1.0).abs();
                worst = worst.max(off);
                assert!(off < FREQUENCY, "{name}, {n} tokens, pair {i}: {got}, {want}");
            }
            for (p, row) in turned(&rotary, n).iter().enumerate() {
                for (f, &(cos, sin)) in plain.frequencies.iter().zip(row) {
                    let angle = p as f64 * f;
                    let off =
                        (cos - plain.attention * angle.cos()).abs().max((sin - plain.attention * angle.sin()).abs());
                    assert!(off < allowed(angle), "{name}, {n} tokens, position {p}: off by {off:.1e}");
                    n_met += 1;
                }
            }
        }
    }
    println!("{n_met} turns, frequencies within {worst:.1e}");
    assert!(n_met > 100_000);
}

/// `benches/peers/rotary.py` calls transformers' modules.
#[test]
fn rotations_are_those_of_transformers() {
    let (mut n_met, mut n_longer) = (0, 0);
    for Case { about, rope } in cases() {
        let name = &about["name"];
        let numbers = |v: &Value| -> Vec<f64> { v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect() };
        for length in about["lengths"].as_array().unwrap() {
            let n = length["n_tokens"].as_u64().unwrap() as usize;
            n_longer += usize::from(n as f64 > about["original_context"].as_f64().unwrap());
            let theirs = numbers(&length["frequencies"]);
            assert_eq!(theirs.len(), rope.n_pairs(), "{name}");
            for (i, (want, got)) in theirs.iter().zip(rope.frequencies(n)).enumerate() {
                assert!((f64::from(got) / want - 1.0).abs() < FREQUENCY, "{name}, {n} tokens, pair {i}: {got}, {want}");
            }
            let attention = length["attention"].as_f64().unwrap();
            assert!((f64::from(rope.attention()) - attention).abs() < 1e-7 * attention, "{name}: {attention}");
            let rows = turned(&Rotary::new(&rope), n);
            for at in length["at"].as_array().unwrap() {
                let p = at["position"].as_u64().unwrap() as usize;
                let (cos, sin) = (numbers(&at["cos"]), numbers(&at["sin"]));
                for (i, &(c, s)) in rows[p].iter().enumerate() {
                    let off = (c - cos[i]).abs().max((s - sin[i]).abs());
                    assert!(off < allowed(p as f64 * theirs[i]), "{name}, {n} tokens, position {p}: off by {off:.1e}");
                    n_met += 1;
                }
            }
        }
    }
    assert!(n_met > 3_000 && n_longer >= 30, "{n_met} turns, {n_longer} longer contexts");
}
