//! The floating-point control word: the rounding mode and the handling of subnormal numbers.
#![allow(unsafe_code, reason = "only assembly can access the control word")]

/// Restores the default control word, and returns `true` if it had changed.
///
/// A library that was built with fast-math changes the control word when it is loaded. All later results in this thread
/// then have other bits. On architectures other than x86-64 and aarch64 this does nothing.
#[must_use = "a model that leaves the control word changed is in error"]
pub fn restore_float_control() -> bool {
    let changed = read() & !STATUS != DEFAULT;
    if changed {
        write(DEFAULT);
    }
    changed
}

#[cfg(target_arch = "x86_64")]
use x86_64::{DEFAULT, STATUS, read, write};

#[cfg(target_arch = "aarch64")]
use aarch64::{DEFAULT, STATUS, read, write};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use other::{DEFAULT, STATUS, read, write};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::asm;

    /// MXCSR: round to nearest, keep subnormals, no exception traps.
    pub(super) const DEFAULT: u64 = 0x1f80;
    /// The status bits, which arithmetic sets.
    pub(super) const STATUS: u64 = 0x3f;

    pub(super) fn read() -> u64 {
        let mut word = 0_u32;
        // SAFETY: the instruction stores four bytes, the size of `word`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        word.into()
    }

    pub(super) fn write(word: u64) {
        let word = word as u32;
        // SAFETY: the instruction loads four bytes from `word`. Rust assumes the default, which is the only value
        // written outside of tests. The tests do no arithmetic before they restore it.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags, readonly)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::asm;

    /// FPCR: round to nearest, keep subnormals, no exception traps.
    pub(super) const DEFAULT: u64 = 0;
    /// The status bits are in another register.
    pub(super) const STATUS: u64 = 0;

    pub(super) fn read() -> u64 {
        let word;
        // SAFETY: the instruction only reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags)) };
        word
    }

    pub(super) fn write(word: u64) {
        // SAFETY: Rust assumes the default, which is the only value written outside of tests. The tests do no
        // arithmetic before they restore it.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod other {
    pub(super) const DEFAULT: u64 = 0;
    pub(super) const STATUS: u64 = 0;

    pub(super) fn read() -> u64 {
        DEFAULT
    }

    pub(super) fn write(_: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untouched_word_is_left_alone() {
        assert!(!restore_float_control());
        // An inexact result sets a status flag, which does not count as a change.
        std::hint::black_box(std::hint::black_box(1.0_f32) / 3.0);
        assert!(!restore_float_control());
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn a_changed_word_is_reported_and_restored() {
        // Flush to zero with denormals are zero; and rounding upwards.
        let words: &[u64] = if cfg!(target_arch = "x86_64") { &[0x9fc0, 0x5f80] } else { &[1 << 24, 1 << 22] };
        for &word in words {
            write(word);
            assert!(restore_float_control(), "{word:x}");
            assert!(!restore_float_control(), "{word:x}");
            let subnormal = std::hint::black_box(f32::MIN_POSITIVE) / 2.0;
            assert!(subnormal > 0.0, "{word:x}");
        }
    }
}
