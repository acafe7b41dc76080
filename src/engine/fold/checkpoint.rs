//! Memory to disk and back: one state file for each tile, space and moment and one for the contexts seen, named by what it is.
//!
//! A file is written by whoever owns the thing and read by whoever owns it next; sums are read by every worker.

use crate::engine::fold::held::{Fold, PairSums};
use crate::engine::message::SavedFile;
use crate::error::{Error, Result};
use crate::ids::BatchIndex;
use crate::moments::{CandidateSums, Candidates, LabelCount, LabelSums, LatentSums, Sketch, TopToken};
use crate::store::{Manifest, RunDir, StateFile, StateLayout, StateWriter};
use serde_json::json;

impl From<StateFile> for SavedFile {
    fn from(file: StateFile) -> Self {
        SavedFile { path: file.path, size: file.record.size, digest: file.record.blake3 }
    }
}

fn space_name(k: usize) -> String {
    format!("space-{k:04}")
}

fn sketch_name(k: usize) -> String {
    format!("sketch-{k:04}")
}

/// Writes everything that this worker owns as the state before batch `next`.
///
/// # Errors
/// `Machine` when the disk refuses.
pub fn save(
    fold: &mut Fold,
    run: &RunDir,
    next: BatchIndex,
    tile_name: impl Fn(usize) -> String,
) -> Result<Vec<SavedFile>> {
    let mut saved = Vec::new();
    for owned in &fold.tiles {
        let tile = match &owned.held {
            PairSums::Exact(tile) => tile,
            PairSums::Candidates(counted) => {
                saved.push(save_candidates(counted, &tile_name(owned.index), run, next)?.into());
                continue;
            }
        };
        let alive: Vec<u32> = tile.alive().map(|(i, _)| i as u32).collect();
        let mut layout =
            StateLayout::new(json!({ "kind": "tile", "first_row": tile.first_row(), "n_rows": tile.n_rows() }))
                .tensor::<u32>("rows", &[alive.len()])
                .tensor::<f64>("sums", &[alive.len(), tile.d_target()]);
        if owned.null.is_some() {
            layout = layout.tensor::<f64>("null", &[alive.len(), tile.d_target()]);
        }
        let mut file = run.write_state(next, &tile_name(owned.index), layout)?;
        file.put("rows", &alive)?;
        for (_, sums) in tile.alive() {
            file.put("sums", sums)?;
        }
        // a row of the null comes alive with its row of the sums
        for (_, sums) in owned.null.iter().flat_map(|null| null.alive()) {
            file.put("null", sums)?;
        }
        saved.push(file.finish()?.into());
    }
    for space in &fold.spaces {
        saved.push(save_space(fold, space.index, run, next)?.into());
        if let Some(sketch) = &fold.sketches[space.index] {
            saved.push(save_sketch(fold, space.index, sketch, run, next)?.into());
        }
    }
    fold.each_file(|file, states| {
        if file.mine {
            let named = StateLayout::new(json!({ "kind": file.kind }));
            let layout = states.iter().fold(named, |layout, state| state.lay_out(layout));
            let mut written = run.write_state(next, &file.name, layout)?;
            states.iter().try_for_each(|state| state.save(&mut written))?;
            saved.push(written.finish()?.into());
        }
        Ok(())
    })?;
    Ok(saved)
}

fn save_candidates(counted: &CandidateSums, name: &str, run: &RunDir, next: BatchIndex) -> Result<StateFile> {
    let (c, n) = (counted.candidates(), counted.sums().len());
    let layout = StateLayout::new(json!({ "kind": "candidates" }))
        .tensor::<u64>("starts", &[c.starts.len()])
        .tensor::<f64>("sums", &[n])
        .tensor::<u64>("sketched_rows", &[n])
        .tensor::<u32>("targets", &[n])
        .tensor::<f32>("error", &[n]);
    let mut file = run.write_state(next, name, layout)?;
    file.put("starts", &c.starts)?;
    file.put("sums", counted.sums())?;
    file.put("sketched_rows", &c.sketched_rows)?;
    file.put("targets", &c.targets)?;
    file.put("error", &c.error)?;
    file.finish()
}

/// Of a space's latents that have fired; a merge may come from rows of another hash, so where the hash stands is told beside.
fn save_sketch(fold: &Fold, s: usize, sketch: &Sketch, run: &RunDir, next: BatchIndex) -> Result<StateFile> {
    let alive: Vec<u32> = (0..sketch.d_sae()).filter(|&i| fold.sums[s].is_alive(i)).map(|i| i as u32).collect();
    let (document, rows) = fold.row_hash.standing();
    let layout = StateLayout::new(json!({ "kind": "sketch", "document": document, "rows": rows }))
        .tensor::<f64>("ones", &[sketch.width()])
        .tensor::<u32>("latents", &[alive.len()])
        .tensor::<f32>("buckets", &[alive.len(), sketch.width()]);
    let mut file = run.write_state(next, &sketch_name(s), layout)?;
    file.put("ones", sketch.ones())?;
    file.put("latents", &alive)?;
    for &i in &alive {
        file.put("buckets", sketch.latent(i as usize))?;
    }
    file.finish()
}

fn save_space(fold: &Fold, s: usize, run: &RunDir, next: BatchIndex) -> Result<StateFile> {
    let space = fold.spaces.iter().find(|o| o.index == s).expect("the owner of a space writes it");
    let sums = &fold.sums[s];
    let d = sums.d_sae();
    let tops: Vec<&TopToken> = space.top.latents().iter().flatten().collect();
    let counts: Vec<u32> = space.top.latents().iter().map(|l| l.len() as u32).collect();
    let context: Vec<u32> = tops.iter().flat_map(|t| t.context.iter().copied()).collect();
    let documents: Vec<u8> = tops.iter().flat_map(|t| t.document.bytes()).collect();
    let labels: Vec<serde_json::Value> =
        space.labels.labels().map(|(k, c)| json!({ "field": k.0, "value": k.1, "n_rows": c.n_rows })).collect();
    let layout = StateLayout::new(json!({ "kind": "space", "n_rows": sums.n_rows, "labels": labels }))
        .tensor::<u64>("n_active", &[d])
        .tensor::<f64>("sum", &[d])
        .tensor::<f64>("sum_sq", &[d])
        .tensor::<f32>("max", &[d])
        .tensor::<f32>("min", &[d])
        .tensor::<u32>("top.counts", &[d])
        .tensor::<f32>("top.value", &[tops.len()])
        .tensor::<u64>("top.row", &[tops.len()])
        .tensor::<u32>("top.at", &[tops.len()])
        .tensor::<u32>("top.context_lengths", &[tops.len()])
        .tensor::<u32>("top.context", &[context.len()])
        .tensor::<u32>("top.document_lengths", &[tops.len()])
        .tensor::<u8>("top.documents", &[documents.len()])
        .tensor::<u64>("labels.n_active", &[labels.len(), d])
        .tensor::<f64>("labels.sum", &[labels.len(), d]);
    let mut file: StateWriter = run.write_state(next, &space_name(s), layout)?;
    file.put("n_active", &sums.n_active)?;
    file.put("sum", &sums.sum)?;
    file.put("sum_sq", &sums.sum_sq)?;
    file.put("max", &sums.max)?;
    file.put("min", &sums.min)?;
    file.put("top.counts", &counts)?;
    file.put("top.value", &tops.iter().map(|t| t.value).collect::<Vec<f32>>())?;
    file.put("top.row", &tops.iter().map(|t| t.row).collect::<Vec<u64>>())?;
    file.put("top.at", &tops.iter().map(|t| t.at).collect::<Vec<u32>>())?;
    file.put("top.context_lengths", &tops.iter().map(|t| t.context.len() as u32).collect::<Vec<u32>>())?;
    file.put("top.context", &context)?;
    file.put("top.document_lengths", &tops.iter().map(|t| t.document.len() as u32).collect::<Vec<u32>>())?;
    file.put("top.documents", &documents)?;
    for (_, count) in space.labels.labels() {
        file.put("labels.n_active", &count.n_active)?;
    }
    for (_, count) in space.labels.labels() {
        file.put("labels.sum", &count.sum)?;
    }
    file.finish()
}

/// Adds what a checkpoint holds of what this worker owns, and the sums of every space: into an empty memory it is read
/// back bit by bit, into one that holds other rows both add up. Row numbers of strongest tokens are moved up by `first_row`.
///
/// # Errors
/// `State` naming the file that does not hold what the plan expects.
pub fn add(
    fold: &mut Fold,
    run: &RunDir,
    manifest: &Manifest,
    first_row: u64,
    tile_name: impl Fn(usize) -> String,
) -> Result<()> {
    for owned in &mut fold.tiles {
        let name = tile_name(owned.index);
        let mut file = run.read_state(manifest, &name)?;
        let tile = match &mut owned.held {
            PairSums::Exact(tile) => tile,
            PairSums::Candidates(counted) => {
                let candidates = Candidates {
                    starts: file.tensor("starts")?,
                    targets: file.tensor("targets")?,
                    sketched_rows: file.tensor("sketched_rows")?,
                    error: file.tensor("error")?,
                };
                let read =
                    CandidateSums::with(counted.d_source(), counted.d_target(), candidates, file.tensor("sums")?);
                let read = read.ok_or_else(|| misfit(&name))?;
                if first_row == 0 {
                    *counted = read;
                } else {
                    counted.merge(&read);
                }
                continue;
            }
        };
        let rows: Vec<u32> = file.tensor("rows")?;
        let d = tile.d_target();
        let mut sums = vec![0.0f64; d];
        for (k, &i) in rows.iter().enumerate() {
            file.read_at("sums", k * d, &mut sums)?;
            if !tile.add_row(i as usize, &sums) {
                return Err(misfit(&name));
            }
            if let Some(null) = &mut owned.null {
                file.read_at("null", k * d, &mut sums)?;
                if !null.add_row(i as usize, &sums) {
                    return Err(misfit(&name));
                }
            }
        }
    }
    for s in 0..fold.sums.len() {
        add_space(fold, s, run, manifest, first_row)?;
        if fold.sketches[s].is_some() {
            add_sketch(fold, s, run, manifest)?;
        }
    }
    fold.each_file(|file, states| {
        let mut read = run.read_state(manifest, &file.name)?;
        states.iter_mut().try_for_each(|state| state.load(&mut read, first_row))
    })
}

fn add_space(fold: &mut Fold, s: usize, run: &RunDir, manifest: &Manifest, first_row: u64) -> Result<()> {
    let name = space_name(s);
    let fields = &fold.plan().spec.corpus.labels.clone();
    let mut file = run.read_state(manifest, &name)?;
    let d = fold.sums[s].d_sae();
    let mut sums = LatentSums::new(0);
    sums.n_rows = number(file.metadata(), "n_rows", &name)?;
    sums.n_active = file.tensor("n_active")?;
    sums.sum = file.tensor("sum")?;
    sums.sum_sq = file.tensor("sum_sq")?;
    sums.max = file.tensor("max")?;
    sums.min = file.tensor("min")?;
    if [sums.n_active.len(), sums.sum.len(), sums.sum_sq.len(), sums.max.len(), sums.min.len()] != [d; 5] {
        return Err(misfit(&name));
    }
    fold.sums[s].merge(&sums);
    let Some(space) = fold.spaces.iter_mut().find(|o| o.index == s) else { return Ok(()) };

    let counts: Vec<u32> = file.tensor("top.counts")?;
    let (values, rows): (Vec<f32>, Vec<u64>) = (file.tensor("top.value")?, file.tensor("top.row")?);
    let (at, lengths): (Vec<u32>, Vec<u32>) = (file.tensor("top.at")?, file.tensor("top.context_lengths")?);
    let (context, names): (Vec<u32>, Vec<u8>) = (file.tensor("top.context")?, file.tensor("top.documents")?);
    let name_lengths: Vec<u32> = file.tensor("top.document_lengths")?;
    let n = values.len();
    let total = |v: &[u32]| v.iter().map(|&x| x as usize).sum::<usize>();
    if [rows.len(), at.len(), lengths.len(), name_lengths.len(), total(&counts)] != [n; 5]
        || total(&lengths) != context.len()
        || total(&name_lengths) != names.len()
    {
        return Err(misfit(&name));
    }
    let (mut next_context, mut next_name) = (0, 0);
    let mut entries = (0..n).map(|k| {
        let span = next_context..next_context + lengths[k] as usize;
        let name = next_name..next_name + name_lengths[k] as usize;
        (next_context, next_name) = (span.end, name.end);
        let document = String::from_utf8_lossy(&names[name]).into();
        TopToken { value: values[k], row: first_row + rows[k], context: context[span].into(), at: at[k], document }
    });
    let tops = counts.iter().map(|&c| entries.by_ref().take(c as usize).collect()).collect();
    if !space.top.add(tops) {
        return Err(misfit(&name));
    }

    let mut known = LabelSums::new(d);
    let labels = file.metadata()["labels"].as_array().cloned().unwrap_or_default();
    for (k, label) in labels.iter().enumerate() {
        let mut count = LabelCount { n_rows: number(label, "n_rows", &name)?, n_active: vec![0; d], sum: vec![0.0; d] };
        file.read_at("labels.n_active", k * d, &mut count.n_active)?;
        file.read_at("labels.sum", k * d, &mut count.sum)?;
        let key = (number(label, "field", &name)? as usize, label["value"].as_str().unwrap_or_default().to_string());
        if !known.restore(key, count) {
            return Err(misfit(&name));
        }
    }
    space.labels.merge(&known, fields)
}

fn add_sketch(fold: &mut Fold, s: usize, run: &RunDir, manifest: &Manifest) -> Result<()> {
    let name = sketch_name(s);
    let mut file = run.read_state(manifest, &name)?;
    let standing = (number(file.metadata(), "document", &name)?, number(file.metadata(), "rows", &name)?);
    let (ones, latents): (Vec<f64>, Vec<u32>) = (file.tensor("ones")?, file.tensor("latents")?);
    fold.row_hash.stand(standing);
    let sketch = fold.sketches[s].as_mut().expect("asked for where there is one");
    let mut buckets = vec![0f32; sketch.width()];
    let mut fits = sketch.add_ones(&ones);
    for (k, &i) in latents.iter().enumerate() {
        file.read_at("buckets", k * buckets.len(), &mut buckets)?;
        fits &= sketch.add_latent(i as usize, &buckets);
    }
    if fits { Ok(()) } else { Err(misfit(&name)) }
}

fn number(json: &serde_json::Value, key: &str, name: &str) -> Result<u64> {
    json[key].as_u64().ok_or_else(|| misfit(name))
}

fn misfit(name: &str) -> Error {
    Error::state(format!("state file {name} does not have the shapes of this run; start afresh with --fresh"))
}
