//! What do sketches cost at true widths, and how well do they find partners? Some minutes; up to 6 GB.

use crate::recall::{World, buckets, recall};
use cognate::matching::{Standardised, choose_candidates};
use cognate::moments::{Accumulator, ByLatent, CandidateSums, LatentSums, Sketch};
use std::time::Instant;

/// Recall and errors of two spaces of 32 768 latents, at four widths.
pub fn recall_at_32768_latents() {
    recall(32768, 32, &[128, 256, 512, 1024]);
    println!("peak memory {} MiB", peak_mib());
}

/// Seconds and memory of two spaces of a million latents: folding, and choosing candidates for a strip.
pub fn a_million_latents() {
    let (d, width, rows, n) = (1 << 20, 512, 8192, 8);
    let world = World::new(d, 3);
    let mut sketches = [(); 2].map(|()| Sketch::new(d, width));
    let mut sums = [(); 2].map(|()| LatentSums::new(d));
    let (mut seconds, mut entries) = (0.0, 0);
    for t in 0..n {
        let batch = world.batch(t, rows, 64);
        let places = buckets(t, rows, width);
        let start = Instant::now();
        for side in 0..2 {
            let by = ByLatent::new(&batch[side]);
            sketches[side].fold((&by, &places)).unwrap();
        }
        seconds += start.elapsed().as_secs_f64();
        entries += batch[0].latents.len() + batch[1].latents.len();
        (0..2).for_each(|side| sums[side].fold(&batch[side]).unwrap());
    }
    let tokens = rows * n as usize;
    println!(
        "two spaces of {d} latents, width {width}: {:.1} µs per token ({:.0} M entries/s by the clock), peak memory {} MiB",
        seconds / tokens as f64 * 1e6,
        entries as f64 / seconds * 1e-6,
        peak_mib()
    );
    // a strip of the sources against all targets; the whole is as many strips
    let strip = 2048;
    let mut narrow = Sketch::new(strip, width);
    assert!(narrow.add_ones(sketches[0].ones()));
    (0..strip).for_each(|i| assert!(narrow.add_latent(i, sketches[0].latent(i))));
    let mut of_strip = Standardised::new(&sums[0]);
    of_strip.sum.truncate(strip);
    of_strip.scale.truncate(strip);
    let start = Instant::now();
    let chosen = choose_candidates(
        &CandidateSums::new(strip, d),
        [(&narrow, &of_strip), (&sketches[1], &Standardised::new(&sums[1]))],
        10,
    );
    let took = start.elapsed().as_secs_f64();
    println!(
        "choosing for {strip} of them: {took:.1} s by the clock, {} candidates; all: {:.1} hours so; peak memory {} MiB",
        chosen.sums().len(),
        took * (d / strip) as f64 / 3600.0,
        peak_mib()
    );
}

fn peak_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) >> 10
}
