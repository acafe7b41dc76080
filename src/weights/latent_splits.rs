//! Which latents fired at some sequences of a latent cache, as delphi and `cognate export --delphi` write it? A folder of splits (see
//! `latent_cache.rs`), read by position: the entries of each split are in order of their sequence, so those of some sequences are found by halving, and
//! a cache of any size takes the memory of what is asked for.

use super::convert::{StoredDtype, widen};
use super::file::reopen;
use super::integers::{bytes_of, whole_numbers};
use super::latent_cache::Firing;
use super::safetensors::{Header, header};
use crate::disk::{self, File};
use crate::error::{Error, Result};
use ::safetensors::tensor::Dtype;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Entries that are looked at together.
const PIECE: u64 = 1 << 14;

/// A latent cache, every entry of which was looked at.
#[derive(Clone, Debug)]
pub struct LatentCache {
    /// By latent, ascending.
    splits: Vec<Split>,
    n_sequences: u64,
    length: usize,
}

/// A file of latents in a row.
#[derive(Clone, Debug)]
struct Split {
    path: PathBuf,
    file_bytes: u64,
    first: u32,
    last: u32,
    n_entries: u64,
    /// `[n_entries, 3]`.
    locations: (Dtype, u64),
    /// `[n_entries]`.
    activations: (StoredDtype, u64),
    /// `[n_sequences, length]`.
    tokens: (Dtype, u64),
    shape: [usize; 2],
}

impl LatentCache {
    /// The cache in `folder`; all its entries are looked through.
    ///
    /// # Errors
    /// `Request` where there is no split, `Input` where one is missing, or damaged, of other tensors, names or sequences than the others, or whose entries
    /// are not in order.
    pub fn open(folder: &Path) -> Result<LatentCache> {
        let listed = disk::names_in(folder).map_err(|e| Error::io("look for a latent cache in", folder, &e))?;
        let mut splits = Vec::new();
        for name in listed {
            let path = folder.join(name);
            if path.extension().is_some_and(|ending| ending == "safetensors") {
                splits.push(Split::open(path)?);
            }
        }
        splits.sort_by(|a, b| (a.first, a.last, &a.path).cmp(&(b.first, b.last, &b.path)));
        let Some(one) = splits.first() else {
            return Err(Error::request(format!(
                "{} holds no .safetensors file; expected the folder of one hookpoint, with splits such as 0_203.safetensors",
                folder.display()
            )));
        };
        let [n_sequences, length] = one.shape;
        if one.first > 0 {
            return Err(missing(folder, 0, one.first - 1));
        }
        for pair in splits.windows(2) {
            let [a, b] = [&pair[0], &pair[1]];
            if b.first <= a.last {
                return Err(a.wrong(format!(
                    "and {} are both of latent {}, expected each once",
                    b.path.display(),
                    b.first
                )));
            }
            if b.first > a.last + 1 {
                return Err(missing(folder, a.last + 1, b.first - 1));
            }
            if a.shape != b.shape {
                return Err(b.wrong(format!(
                    "has tokens {:?}, {} has {:?}; they are not of one cache",
                    b.shape,
                    a.path.display(),
                    a.shape
                )));
            }
        }
        splits.iter().try_for_each(Split::look_through)?;
        Ok(LatentCache { splits, n_sequences: n_sequences as u64, length })
    }

    /// Number of sequences.
    pub fn n_sequences(&self) -> u64 {
        self.n_sequences
    }

    /// Tokens of each.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The last latent that the cache is of.
    pub fn last_latent(&self) -> u32 {
        self.splits.last().map_or(0, |split| split.last)
    }

    /// The files, by latent.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.splits.iter().map(|split| split.path.as_path())
    }

    /// Bytes that reading takes at most, without the result.
    pub fn reading_bytes() -> u64 {
        // numbers as they are stored, and as whole numbers
        PIECE * 3 * (8 + 16)
    }

    /// Holds the token ids of sequence `sequence` of every split against `ids`; the first that differs as (file, position, id in the file).
    ///
    /// # Errors
    /// Those of reading.
    ///
    /// # Panics
    /// When there is no such sequence, or `ids` is not as long.
    pub fn first_difference(&self, sequence: u64, ids: &[u32]) -> Result<Option<(&Path, usize, i128)>> {
        assert!(sequence < self.n_sequences && ids.len() == self.length, "a sequence of the cache");
        for split in &self.splits {
            let (dtype, offset) = split.tokens;
            let size = self.length * bytes_of(dtype);
            let held = split.numbers(&split.opened()?, dtype, offset + sequence * size as u64, self.length)?;
            let differs = held.iter().zip(ids).position(|(held, id)| *held != i128::from(*id));
            if let Some(at) = differs {
                return Ok(Some((&split.path, at, held[at])));
            }
        }
        Ok(None)
    }

    /// Gives every entry of `sequences`, split by split, by sequence.
    ///
    /// # Errors
    /// Those of reading and of `take`.
    pub fn entries(&self, sequences: Range<u64>, mut take: impl FnMut(Firing) -> Result<()>) -> Result<()> {
        for split in &self.splits {
            let file = split.opened()?;
            let [first, end] = [sequences.start, sequences.end].map(|sequence| split.first_of(&file, sequence));
            let (first, end) = (first?, end?);
            for from in (first..end).step_by(PIECE as usize) {
                split.piece(&file, from, PIECE.min(end - from))?.into_iter().try_for_each(&mut take)?;
            }
        }
        Ok(())
    }
}

/// The error of latents that no split is of.
fn missing(folder: &Path, first: u32, last: u32) -> Error {
    Error::input(format!(
        "{} has no split of latents {first} to {last}: they would look as if they never fired; copy what is missing \
         ({first}_{last}.safetensors), or write the cache again",
        folder.display()
    ))
}

impl Split {
    fn open(path: PathBuf) -> Result<Split> {
        let wrong = |what: String| Error::input(format!("{}: {what}", path.display()));
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let numbers = name.split_once('_').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        let Some((first, last)) = numbers.filter(|(first, last): &(u32, u32)| first <= last) else {
            return Err(wrong("its name does not say which latents it is of, expected FIRST_LAST.safetensors".into()));
        };
        let Header { tensors, start, file_bytes } = header(&path)?;
        let tensor = |name: &str| {
            let found = tensors.get(name).map(|info| (info, start + info.data_offsets.0 as u64));
            found.ok_or_else(|| {
                wrong(format!("no tensor {name:?}; a split of a latent cache holds locations, activations and tokens"))
            })
        };
        let whole = |name: &str| {
            let (info, offset) = tensor(name)?;
            match bytes_of(info.dtype) {
                0 => Err(wrong(format!("tensor {name:?} is of {:?}, expected whole numbers", info.dtype))),
                _ => Ok((info, (info.dtype, offset))),
            }
        };
        let ((places, locations), (ids, tokens)) = (whole("locations")?, whole("tokens")?);
        let (values, offset) = tensor("activations")?;
        let dtype = match values.dtype {
            Dtype::F16 => StoredDtype::F16,
            Dtype::BF16 => StoredDtype::Bf16,
            Dtype::F32 => StoredDtype::F32,
            other => return Err(wrong(format!("tensor \"activations\" is of {other:?}, expected F16, BF16 or F32"))),
        };
        let (&[n, 3], &[m]) = (places.shape.as_slice(), values.shape.as_slice()) else {
            return Err(wrong(format!(
                "locations are of shape {:?} and activations of {:?}, expected [n, 3] and [n]",
                places.shape, values.shape
            )));
        };
        let &[n_sequences, length] = ids.shape.as_slice() else {
            return Err(wrong(format!("tokens are of shape {:?}, expected [n_sequences, length]", ids.shape)));
        };
        if u32::try_from(n_sequences).is_err() {
            return Err(wrong(format!("{n_sequences} sequences, expected {} at most", u32::MAX)));
        }
        if n != m {
            return Err(wrong(format!("{n} locations and {m} activations, expected as many")));
        }
        let (activations, shape) = ((dtype, offset), [n_sequences, length]);
        Ok(Split { first, last, n_entries: n as u64, locations, activations, tokens, shape, file_bytes, path })
    }

    /// Checks every entry: in order of their sequences, of a position and a latent that there are.
    fn look_through(&self) -> Result<()> {
        let file = self.opened()?;
        let width = i128::from(self.last - self.first);
        let mut before = 0;
        for from in (0..self.n_entries).step_by(PIECE as usize) {
            let n = PIECE.min(self.n_entries - from);
            let numbers = self.locations_at(&file, from, n)?;
            for (k, place) in numbers.chunks_exact(3).enumerate() {
                let entry = from + k as u64;
                let [sequence, position, latent] = [place[0], place[1], place[2]];
                let [n_sequences, length] = self.shape.map(|n| n as i128);
                if !(0..n_sequences).contains(&sequence)
                    || !(0..length).contains(&position)
                    || !(0..=width).contains(&latent)
                {
                    return Err(self.wrong(format!(
                        "location {entry} is [{sequence}, {position}, {latent}], expected a sequence below {n_sequences}, a position below \
                         {length} and a latent up to {width} behind the first"
                    )));
                }
                if sequence < before {
                    return Err(self.wrong(format!(
                        "location {entry} is of sequence {sequence}, the one before of {before}; entries must be in order of their sequences: \
                         sort the three tensors by the first column of locations"
                    )));
                }
                before = sequence;
            }
        }
        Ok(())
    }

    /// The first entry whose sequence is not below `sequence`.
    fn first_of(&self, file: &File, sequence: u64) -> Result<u64> {
        let (mut low, mut high) = (0, self.n_entries);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.locations_at(file, middle, 1)?[0] < i128::from(sequence) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    fn piece(&self, file: &File, from: u64, n: u64) -> Result<Vec<Firing>> {
        let places = self.locations_at(file, from, n)?;
        let (dtype, offset) = self.activations;
        let mut bytes = vec![0u8; n as usize * dtype.size()];
        let at = offset + from * dtype.size() as u64;
        file.read_exact_at(&mut bytes, at).map_err(|e| Error::io("read", &self.path, &e))?;
        let mut values = vec![0f32; n as usize];
        widen(dtype, &bytes, &mut values);
        let firing = |(place, activation): (&[i128], f32)| Firing {
            sequence: place[0] as u32,
            position: place[1] as u32,
            latent: self.first.wrapping_add(place[2] as u32),
            activation,
        };
        Ok(places.chunks_exact(3).zip(values).map(firing).collect())
    }

    fn locations_at(&self, file: &File, from: u64, n: u64) -> Result<Vec<i128>> {
        let (dtype, offset) = self.locations;
        self.numbers(file, dtype, offset + from * 3 * bytes_of(dtype) as u64, 3 * n as usize)
    }

    fn numbers(&self, file: &File, dtype: Dtype, at: u64, n: usize) -> Result<Vec<i128>> {
        let mut bytes = vec![0u8; n * bytes_of(dtype)];
        file.read_exact_at(&mut bytes, at).map_err(|e| Error::io("read", &self.path, &e))?;
        Ok(whole_numbers(dtype, &bytes))
    }

    fn opened(&self) -> Result<File> {
        reopen(&self.path, self.file_bytes)
    }

    fn wrong(&self, what: String) -> Error {
        Error::input(format!("{} {what}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::latent_cache::split_file;
    use super::*;
    use crate::error::ErrorKind;

    fn firing(sequence: u32, position: u32, latent: u32) -> Firing {
        // what F16 holds exactly
        Firing {
            sequence,
            position,
            latent,
            activation: ((sequence * 100 + position * 10 + latent) % 1000) as f32 + 1.0,
        }
    }

    fn sequences(n: u32) -> Vec<Vec<u32>> {
        (0..n).map(|s| (0..4).map(|p| s * 4 + p).collect()).collect()
    }

    /// A cache of two splits, of latents 0 to 4 and 5 to 9, and all its entries.
    fn cache(folder: &Path) -> Vec<Firing> {
        let fires = |s: u32, p: u32, l: u32| (s * 7 + p * 3 + l * 5).is_multiple_of(4) && s % 5 != 3;
        let mut all = Vec::new();
        for (first, last) in [(0, 4), (5, 9)] {
            let of_split: Vec<Firing> = (0..30)
                .flat_map(|s| (0..4).flat_map(move |p| (first..=last).map(move |l| (s, p, l))))
                .filter(|(s, p, l)| fires(*s, *p, *l))
                .map(|(s, p, l)| firing(s, p, l))
                .collect();
            let bytes = split_file(first, &of_split, &sequences(30)).unwrap();
            std::fs::write(folder.join(format!("{first}_{last}.safetensors")), bytes).unwrap();
            all.extend(of_split);
        }
        all
    }

    #[test]
    fn entries_of_some_sequences_are_those_of_all_that_are_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let all = cache(folder.path());
        let cache = LatentCache::open(folder.path()).unwrap();
        assert_eq!((cache.n_sequences(), cache.length(), cache.last_latent()), (30, 4, 9));
        for (from, to) in [(0, 30), (0, 1), (3, 4), (7, 19), (29, 30), (12, 12)] {
            let mut found = Vec::new();
            cache
                .entries(from..to, |f| {
                    found.push(f);
                    Ok(())
                })
                .unwrap();
            let expected: Vec<Firing> =
                all.iter().filter(|f| (from..to).contains(&u64::from(f.sequence))).copied().collect();
            assert_eq!(found, expected, "{from} to {to}");
        }
        assert_eq!(cache.first_difference(7, &[28, 29, 30, 31]).unwrap(), None);
        let (path, position, id) = cache.first_difference(7, &[28, 29, 5, 31]).unwrap().unwrap();
        assert_eq!((path.file_name().unwrap().to_str().unwrap(), position, id), ("0_4.safetensors", 2, 30));
    }

    #[test]
    fn a_cache_that_is_none_is_refused_with_its_file_and_entry() {
        let folder = tempfile::tempdir().unwrap();
        let told = |words: &[&str]| {
            let error = LatentCache::open(folder.path()).unwrap_err();
            let said = error.to_string();
            words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in {said}"));
            error.kind()
        };
        assert_eq!(told(&["holds no .safetensors file"]), ErrorKind::Request);
        let write = |name: &str, first: u32, firings: &[Firing], n: u32| {
            let bytes = split_file(first, firings, &sequences(n)).unwrap();
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        write("all.safetensors", 0, &[firing(0, 0, 1)], 3);
        told(&["all.safetensors", "FIRST_LAST.safetensors"]);
        std::fs::remove_file(folder.path().join("all.safetensors")).unwrap();
        write("0_4.safetensors", 0, &[firing(0, 0, 1), firing(2, 0, 1), firing(1, 0, 1)], 3);
        told(&["0_4.safetensors location 2 is of sequence 1, the one before of 2"]);
        write("0_4.safetensors", 0, &[firing(0, 0, 1), firing(2, 4, 1)], 3);
        told(&["0_4.safetensors location 1 is [2, 4, 1]", "a position below 4"]);
        write("0_4.safetensors", 0, &[firing(0, 0, 5)], 3);
        told(&["location 0 is [0, 0, 5]", "a latent up to 4 behind"]);
        write("0_4.safetensors", 0, &[firing(0, 0, 4)], 3);
        write("4_9.safetensors", 4, &[firing(0, 0, 4)], 3);
        told(&["4_9.safetensors are both of latent 4"]);
        std::fs::remove_file(folder.path().join("4_9.safetensors")).unwrap();
        write("5_9.safetensors", 5, &[firing(0, 0, 5)], 2);
        told(&["5_9.safetensors has tokens [2, 4]", "not of one cache"]);
    }
}
