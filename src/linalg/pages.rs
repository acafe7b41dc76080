//! Zeroed arrays in huge pages, where the system offers them.
//!
//! The sums of all pairs take gigabytes and are written at random. With pages of 4 KiB nearly every write waits for two reads of
//! memory (the page table entry and the sum), and the first write to a page waits for the system. With pages of 2 MiB both waits
//! are rare. A page that was never written takes no memory.

use bytemuck::Pod;
use memmap2::MmapMut;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Arrays from this size on are in huge pages: the size of one huge page.
const HUGE_BYTES: usize = 2 << 20;

/// An array that begins as zeros.
#[derive(Debug)]
pub struct Zeroed<T> {
    held: Held<T>,
}

#[derive(Debug)]
enum Held<T> {
    Small(Vec<T>),
    Pages(MmapMut, PhantomData<T>),
}

impl<T: Pod> Zeroed<T> {
    /// `n` zeros.
    pub fn new(n: usize) -> Self {
        let bytes = n.saturating_mul(size_of::<T>());
        // Where the system has no such map, as where it has no memory left, the allocator is asked.
        let pages = if bytes < HUGE_BYTES { None } else { MmapMut::map_anon(bytes).ok() };
        let held = match pages {
            Some(pages) => {
                // Only advice: where it is not taken, pages are small and everything else is as it was.
                #[cfg(target_os = "linux")]
                let _ = pages.advise(memmap2::Advice::HugePage);
                Held::Pages(pages, PhantomData)
            }
            None => Held::Small(vec![T::zeroed(); n]),
        };
        Zeroed { held }
    }
}

impl<T: Pod> Deref for Zeroed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.held {
            Held::Small(values) => values,
            Held::Pages(pages, _) => bytemuck::cast_slice(pages),
        }
    }
}

impl<T: Pod> DerefMut for Zeroed<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.held {
            Held::Small(values) => values,
            Held::Pages(pages, _) => bytemuck::cast_slice_mut(pages),
        }
    }
}

impl<T: Pod> Clone for Zeroed<T> {
    fn clone(&self) -> Self {
        let mut out = Zeroed::new(self.len());
        out.copy_from_slice(self);
        out
    }
}

impl<T: Pod + PartialEq> PartialEq for Zeroed<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_any_size_begin_as_zeros_and_keep_what_is_written() {
        for n in [0, 1, 1000, HUGE_BYTES / 8, HUGE_BYTES / 8 + 3, 1_000_000] {
            let mut array = Zeroed::<f64>::new(n);
            assert!(array.len() == n && array.iter().all(|&v| v == 0.0));
            for at in [0, n / 2, n.saturating_sub(1)].into_iter().filter(|&at| at < n) {
                array[at] = at as f64 + 1.0;
            }
            let copy = array.clone();
            assert!(copy == array && (n == 0 || copy[n - 1] == n as f64));
        }
    }
}
