//! The kernels of `device/choose.cu`, compiled as C and run on the processor, against the selection behind this program's own products.

use super::TILE;
use crate::device::Chosen;
use crate::sae::encode::pick;
use crate::sae::rule::Rule;
use crate::sae::selection::RowSelection;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The kernels as a program; built once for all tests.
fn kernels(folder: &Path) -> PathBuf {
    let (source, program) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/on_cpu.c"), folder.join("kernels"));
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-ffp-contract=off", "-Wall", "-Werror", "-pthread", "-o"]).arg(&program).arg(source).arg("-lm");
    let output = cc.output().expect("a C compiler, which linking needs too");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn by_kernels(program: &Path, rule: &Rule, z: &[f32], d: usize) -> Chosen {
    let choice = rule.choice();
    let n_rows = z.len() / d;
    let padded = |v: &[f32]| if v.is_empty() { vec![0.0; d] } else { v.to_vec() };
    let numbers = [n_rows as u32, d as u32, choice.rule, choice.k].map(u32::to_le_bytes).concat();
    let floats = z.iter().copied().chain(choice.vectors.into_iter().flat_map(padded));
    let input: Vec<u8> = numbers.into_iter().chain(floats.flat_map(f32::to_le_bytes)).collect();
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let words: Vec<u32> = output.stdout.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    let (found, entries) = words.split_at(4 * n_rows);
    let (latents, values) = entries.split_at(entries.len() / 2);
    let values = values.iter().map(|bits| f32::from_bits(*bits)).collect();
    Chosen { rows: Chosen::rows_of(found), latents: latents.to_vec(), values }
}

fn by_selection(rule: &Rule, z: &[f32], d: usize) -> Chosen {
    let mut chosen = Chosen::default();
    for z in z.chunks_exact(d) {
        let mut row = RowSelection::default();
        for (t, z) in z.chunks(TILE).enumerate() {
            pick(rule, t * TILE, z.len(), z, std::slice::from_mut(&mut row));
        }
        let broken = row.broken();
        let keys = if let Rule::TopK { k, .. } = *rule { row.best(k) } else { row.all() };
        chosen.rows.push((keys.len(), broken));
        chosen.latents.extend(keys.iter().map(|key| key.latent()));
        chosen.values.extend(keys.iter().map(|key| key.value()));
    }
    chosen
}

/// Values of a few sizes, so that there are ties; zeros and both signs among them.
fn drawn(n: usize, seed: u64, levels: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * levels
    };
    (0..n).map(|_| if levels > 100.0 { next() / 7.0 } else { next().round() }).collect()
}

fn rules(d: usize) -> Vec<Rule> {
    let v = |seed| drawn(d, seed, 3.0);
    let floor: Vec<f32> = v(2).iter().map(|x| x.abs()).collect();
    let mut all = vec![
        Rule::Above { bias: v(1), floor: vec![0.0; d] },
        Rule::Above { bias: v(1), floor },
        Rule::Gated { bias: v(3), scale: v(4), gate: v(5) },
    ];
    for signed in [false, true] {
        all.extend([1, 3, 64, d].map(|k| Rule::TopK { bias: v(6), k: k.min(d), signed }));
    }
    let groups = [1, 8, d].into_iter().filter(|groups| d.is_multiple_of(*groups));
    all.extend(groups.map(|groups| Rule::GroupMax { bias: v(7), groups }));
    all
}

#[test]
fn the_kernels_choose_what_the_selection_chooses() {
    let folder = tempfile::tempdir().unwrap();
    let program = kernels(folder.path());
    // fewer latents than a block has threads, and more
    for d in [40, 600] {
        for (seed, levels) in [(8, 2.0), (10, 1e6)] {
            let z = [drawn(2 * d, seed, levels), vec![0.0; d], vec![7.0; d]].concat();
            for rule in rules(d) {
                let (found, expected) = (by_kernels(&program, &rule, &z, d), by_selection(&rule, &z, d));
                assert!(found == expected, "{rule:?}, {d} latents, values up to {levels}:\n{found:?}\n{expected:?}");
            }
        }
    }
}

#[test]
fn a_value_that_is_not_finite_is_found_by_the_kernels_too() {
    let folder = tempfile::tempdir().unwrap();
    let program = kernels(folder.path());
    let (d, zeros) = (600, vec![0.0; 600]);
    let mut z = vec![0.5; 3 * d];
    (z[411], z[d + 599]) = (f32::NAN, f32::INFINITY);
    for rule in [
        Rule::Above { bias: zeros.clone(), floor: zeros.clone() },
        Rule::Gated { bias: zeros.clone(), scale: vec![1.0; d], gate: zeros.clone() },
        Rule::TopK { bias: zeros.clone(), k: 3, signed: false },
        Rule::TopK { bias: zeros.clone(), k: 3, signed: true },
        Rule::GroupMax { bias: zeros.clone(), groups: 6 },
    ] {
        let broken: Vec<Option<u32>> = by_kernels(&program, &rule, &z, d).rows.iter().map(|row| row.1).collect();
        assert_eq!(broken, [Some(411), Some(599), None], "{rule:?}");
    }
}
