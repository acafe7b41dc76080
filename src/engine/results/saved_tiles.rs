//! Which of a checkpoint's sums are read one by one? Correlations of a few latents with a few others, from its tiles:
//! matching within a category needs them, where each latent picks among the members alone. And whole files, for what is
//! computed of them at a run's end.

use crate::engine::message::{SavedFile, Spaces};
use crate::error::Result;
use crate::ids::BatchIndex;
use crate::linalg::Matrix;
use crate::matching::Standardised;
use crate::moments::SavedTile;
use crate::plan::Plan;
use crate::store::{FileRecord, Manifest, RunDir, StateReader};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tiles of a checkpoint, opened when they are asked for.
pub struct SavedTiles<'a> {
    run: &'a RunDir,
    plan: &'a Plan,
    manifest: Manifest,
    /// By index.
    open: BTreeMap<usize, SavedTile>,
    /// By space: what its sums give to a correlation.
    standardised: BTreeMap<usize, Arc<Standardised>>,
}

impl<'a> SavedTiles<'a> {
    /// Of a committed checkpoint.
    pub fn of_manifest(run: &'a RunDir, plan: &'a Plan, manifest: &Manifest) -> Self {
        SavedTiles { run, plan, manifest: manifest.clone(), open: BTreeMap::new(), standardised: BTreeMap::new() }
    }

    /// Of the checkpoint before `next` that is about to be committed.
    pub fn of_files(run: &'a RunDir, plan: &'a Plan, next: BatchIndex, files: &[SavedFile]) -> Self {
        let mut manifest = Manifest::new(String::new(), BTreeMap::new());
        manifest.next_batch = next;
        manifest.files =
            (files.iter()).map(|f| (f.path.clone(), FileRecord { size: f.size, blake3: f.digest.clone() })).collect();
        SavedTiles { run, plan, manifest, open: BTreeMap::new(), standardised: BTreeMap::new() }
    }

    /// A state file of the checkpoint.
    ///
    /// # Errors
    /// `State` for a file that is not there or damaged.
    pub fn file(&self, name: &str) -> Result<StateReader> {
        self.run.read_state(&self.manifest, name)
    }

    /// Correlations of `sources` with `targets` of a pair of SAEs, `[n_sources, n_targets]`, by the plan's rules; 0 where one
    /// is undefined.
    ///
    /// # Errors
    /// `State` for a file that is not there or damaged.
    pub fn correlations(
        &mut self,
        pair: usize,
        sources: &[u32],
        targets: &[u32],
        spaces: &Spaces,
    ) -> Result<Matrix<f64>> {
        let (plan, rules) = (self.plan, self.plan.spec().estimate.rules);
        let at = plan.pairs()[pair];
        let [a, b] = [at.source, at.target].map(|s| {
            let new = || Arc::new(Standardised::by(&spaces[&s].sums, rules));
            self.standardised.entry(s).or_insert_with(new).clone()
        });
        let mut out = Matrix::zeros(sources.len(), targets.len());
        for (i, &source) in sources.iter().enumerate() {
            let row = self.row(pair, source)?;
            for (r, &target) in out.row_mut(i).iter_mut().zip(targets) {
                let sum_xy = row.as_ref().map_or(0.0, |row| row[target as usize]);
                *r = a.correlate(source as usize, &b, target as usize, sum_xy).unwrap_or(0.0);
            }
        }
        Ok(out)
    }

    /// Σxy of one source latent; `None` when it never fired.
    fn row(&mut self, pair: usize, source: u32) -> Result<Option<Vec<f64>>> {
        let tiles = self.plan.tiles().iter().enumerate();
        let (k, tile) = (tiles.into_iter())
            .find(|(_, t)| t.pair == pair && (t.first_row..t.first_row + t.n_rows).contains(&(source as usize)))
            .expect("every source latent of a pair of SAEs is in a tile");
        if !self.open.contains_key(&k) {
            let file = self.run.read_state(&self.manifest, &self.plan.tile_name(k))?;
            self.open.insert(k, SavedTile::new(file)?);
        }
        let saved = self.open.get_mut(&k).expect("opened above");
        saved.row(source as usize - tile.first_row, self.plan.spaces()[self.plan.pairs()[pair].target].width)
    }
}
