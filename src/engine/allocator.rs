//! Settings of glibc's allocator: few arenas, and freed memory is given back after snapshots.
//!
//! glibc gives threads arenas of their own, up to eight per core, and keeps what is freed in the arena it came from. What a
//! snapshot makes on one thread and frees at once thus stays resident while the next one is made on another thread. Measured on
//! one pair of the demo with 150 snapshots: a peak of 112 MiB as it was, 89 with these settings.
//!
//! glibc also raises, with every large piece that is freed, the size from which pieces come from the system directly, up to
//! 32 MiB: large pieces then land between small ones and are not given back. Held at its first value, the peak over a
//! corpus repeated 1, 4 and 16 times was 117, 119 and 120 MB; left to itself it was 125, 130 and 139. What is needed again for
//! every context or block of rows is therefore not asked of the allocator each time: threads keep it (`model/pool.rs`,
//! the buffers of products, attention and encode).

/// From this size on a piece of memory is the system's own and goes back to it when freed: glibc's first value.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM_BYTES: libc::c_int = 128 << 10;

/// Limits arenas to the number of cores and takes large allocations from the system directly. Call it before threads start.
/// With an allocator other than glibc's it does nothing.
pub fn bound_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get().min(1024) as libc::c_int);
        #[allow(unsafe_code)]
        // SAFETY: `mallopt` takes two integers, and these settings are ones that glibc documents.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, cores);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
        }
    }
}

/// Hands the free pages of all arenas back to the system. Does nothing where the allocator is not glibc's.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: `malloc_trim` takes no pointer, locks the arenas it looks at, and touches only pages that are free.
    unsafe {
        libc::malloc_trim(0);
    }
}
