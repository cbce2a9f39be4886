//! Which instruction set the kernels run on: chosen once, never visible in a result.
#![allow(unsafe_code, reason = "calling a function with target features is unsafe; every other file is safe")]

use std::{fmt, sync::OnceLock};

use crate::{Error, Result};

/// A generic loop that is compiled once for each instruction set.
///
/// `run` and everything it calls must be `#[inline(always)]`, or it is compiled without the features. `W` is how many
/// `f32`s are four registers, of which a tile of sums has twice as many. It shapes the code alone: an output element is
/// accumulated in the same order whatever it is.
pub(crate) trait Kernel {
    type Output;
    fn run<const W: usize>(self) -> Self::Output;
}

/// An instruction set that this CPU has.
///
/// All give the same bits, so the choice is one of speed. The environment variable `FEDPIPE_ISA` (`portable`, `avx2`
/// or `avx512`) overrides it. The portable variant calls a software `fmaf` on x86, some 50 times slower; on aarch64 it is
/// compiled to the native instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Variant);

// The field is private to this file: a value of `Isa` is proof that the CPU has the features.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The fastest, or the one that `FEDPIPE_ISA` names; the same answer for the life of the process.
    ///
    /// # Errors
    /// A value of `FEDPIPE_ISA` that is unknown or that this CPU cannot run.
    pub fn current() -> Result<Self> {
        static CHOICE: OnceLock<Result<Isa>> = OnceLock::new();
        CHOICE.get_or_init(|| Self::choose(std::env::var("FEDPIPE_ISA").ok().as_deref())).clone()
    }

    /// Those of this CPU, the fastest first.
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

    /// `portable`, `avx2` or `avx512`.
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
            // On aarch64 sixteen of the 32 registers of four lanes.
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

/// Eight registers of eight lanes keep two multiply-adds a cycle of latency four busy; there are sixteen.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<32>()
}

/// Registers of sixteen lanes.
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
