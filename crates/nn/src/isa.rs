//! The instruction set of the kernels, which is chosen once and is visible in no result.
#![allow(unsafe_code, reason = "calling a function with target features is unsafe; every other file is safe")]

use std::{fmt, sync::OnceLock};

use crate::error::{Error, Result};

/// A generic loop that is compiled once for each instruction set.
///
/// `run` and all functions that it calls must be `#[inline(always)]`; otherwise they are compiled without the
/// instruction set. `W` is the number of `f32` values in four registers; a tile of sums has eight registers. `W`
/// changes the code alone: each output element is accumulated in the same order for every `W`.
pub(crate) trait Kernel {
    type Output;
    fn run<const W: usize>(self) -> Self::Output;
}

/// An instruction set that this CPU has.
///
/// All instruction sets give the same bits; they differ in speed alone. The environment variable `FEDPIPE_ISA`
/// (`portable`, `avx2` or `avx512`) overrides the choice. On x86 the portable variant calls `fmaf` for each value and
/// is some 50 times slower. On aarch64 it is compiled to the native instruction.
///
/// ```
/// use fedpipe_nn::Isa;
///
/// let isa = Isa::current()?;
/// assert!(Isa::available().contains(&isa));
/// println!("kernels run on {}", isa.name());
/// # Ok::<(), fedpipe_nn::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Variant);

// The field is private to this file, so that a value of `Isa` exists only if the CPU has the features.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// Returns the fastest instruction set, or the one that `FEDPIPE_ISA` names. The choice is made once a process.
    ///
    /// # Errors
    /// A value of `FEDPIPE_ISA` that is unknown, or an instruction set that this CPU lacks.
    pub fn current() -> Result<Self> {
        static CHOICE: OnceLock<Result<Isa>> = OnceLock::new();
        CHOICE.get_or_init(|| Self::choose(std::env::var("FEDPIPE_ISA").ok().as_deref())).clone()
    }

    /// Returns the instruction sets of this CPU, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            macro_rules! has { ($($feature:tt)*) => { $(std::arch::is_x86_feature_detected!($feature))&&* }; }
            let avx2 = has!("avx2" "fma" "bmi1" "popcnt");
            if avx2 && has!("avx512f" "avx512vl" "avx512dq" "avx512bw") {
                all.push(Self(Variant::Avx512));
            }
            if avx2 {
                all.push(Self(Variant::Avx2));
            }
        }
        all.push(Self(Variant::Portable));
        all
    }

    /// Returns `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Variant::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Variant::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Variant::Avx512 => "avx512",
        }
    }

    fn choose(wish: Option<&str>) -> Result<Self> {
        let available = Self::available();
        let Some(wish) = wish.filter(|wish| !wish.is_empty()) else {
            return Ok(available[0]);
        };
        available.iter().copied().find(|isa| isa.name() == wish).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|isa| isa.name()).collect();
            Error::new(format!("FEDPIPE_ISA={wish} cannot be used: this CPU runs {}", names.join(", ")))
        })
    }

    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            // On aarch64 a tile has sixteen of the 32 registers, which have four lanes each.
            Variant::Portable => kernel.run::<32>(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the value exists, so `available` has seen the features that `avx2` enables.
            Variant::Avx2 => unsafe { avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the value exists, so `available` has seen the features that `avx512` enables.
            Variant::Avx512 => unsafe { avx512(kernel) },
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Runs `kernel` with AVX2. A tile of eight registers hides the latency of two multiply-adds a cycle; the CPU has
/// sixteen.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<32>()
}

/// Runs `kernel` with AVX-512, whose registers have sixteen lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi1,popcnt")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_the_fastest_or_the_one_named() {
        assert_eq!(Isa::choose(None).unwrap(), Isa::available()[0]);
        assert_eq!(Isa::choose(Some("")).unwrap(), Isa::available()[0]);
        for isa in Isa::available() {
            assert_eq!(Isa::choose(Some(isa.name())).unwrap(), isa);
        }
        let error = Isa::choose(Some("sse9")).unwrap_err().to_string();
        assert!(error.starts_with("FEDPIPE_ISA=sse9 cannot be used: this CPU runs ") && error.ends_with("portable"));
    }
}
