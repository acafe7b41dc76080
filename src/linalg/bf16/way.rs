//! By what does this machine multiply bf16?

/// A way to a product of bf16. All of them give the same bits. The tiles of AMX, which sum in another order, would be a way beside a
/// definition of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The instruction VDPBF16PS, of processors with AVX-512 BF16.
    Instruction,
    /// The same sums by f32 multiply-adds, for tests.
    Emulated,
}

/// Set to `emulated`, products of bf16 are emulated, whether the processor has the instruction or not. For tests: read in builds with
/// debug assertions alone.
#[cfg(debug_assertions)]
const WISH: &str = "COGNATE_BF16";

impl Way {
    /// The one that work is done by; `None` where there is none that work should be done by.
    pub fn of_this_machine() -> Option<Way> {
        if emulation_is_wished() {
            return Some(Way::Emulated);
        }
        #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
        if super::x86::has_instruction() {
            return Some(Way::Instruction);
        }
        None
    }
}

#[cfg(debug_assertions)]
fn emulation_is_wished() -> bool {
    static WISHED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *WISHED.get_or_init(|| {
        let wish = std::env::var_os(WISH);
        assert!(wish.as_ref().is_none_or(|wish| wish == "emulated"), "{WISH} is {wish:?}, expected emulated");
        wish.is_some()
    })
}

#[cfg(not(debug_assertions))]
fn emulation_is_wished() -> bool {
    false
}
