//! Tests of the FMA peak that the benches measure: it is plausible on each instruction set, and an implausible one is
//! refused.

#[path = "../benches/support/peak.rs"]
mod peak;

use std::time::{Duration, Instant};

use fedpipe_nn::Isa;
use peak::Peak;

#[test]
fn the_peak_of_each_instruction_set_is_plausible() {
    for isa in Isa::available() {
        let (start, mut peak) = (Instant::now(), Peak::of(isa));
        // Other tests run at the same time, so that one measurement may be too low.
        while peak.check(0.0).is_err() && start.elapsed() < Duration::from_secs(10) {
            peak.measure();
        }
        peak.check(0.0).unwrap();
    }
}

#[test]
fn a_plausible_peak_is_accepted() {
    let measured = [
        ("avx512", 245.0, 3.8, 190.0), // Sapphire Rapids
        ("avx512", 118.0, 3.7, 80.0),  // Zen 4
        ("avx512", 59.0, 3.7, 40.0),   // Zen 4 beside another hardware thread
        ("avx2", 103.7, 3.4, 80.0),    // Zen 3
        ("avx2", 51.0, 3.2, 40.0),     // Zen 1
    ];
    for (isa, rate, clock, reached) in measured {
        let peak = Peak { isa, rate, clock };
        assert_eq!(peak.check(reached), Ok(rate), "{peak:?}");
    }
}

#[test]
fn an_implausible_peak_is_refused() {
    let wrong = [
        ("avx512", 4.9, 3.8), // a loop that is compiled to gathers and scatters
        ("avx512", 50.0, 3.8),
        ("avx512", 300.0, 3.8), // multiply-adds that the compiler has removed
        ("avx2", 4.9, 3.8),
        ("avx2", 245.0, 3.8),
        ("portable", 245.0, 3.8),
        ("avx2", f64::NAN, 3.8),
        ("avx2", 0.0, 0.0),
        ("avx2", f64::INFINITY, 3.8),
    ];
    for (isa, rate, clock) in wrong {
        let peak = Peak { isa, rate, clock };
        let error = peak.check(0.0).expect_err(&format!("{peak:?}"));
        assert!(error.contains("operations a cycle, expected "), "{error}");
    }
}

#[test]
fn a_peak_below_what_the_benched_code_reached_is_refused() {
    let peak = Peak { isa: "avx512", rate: 70.0, clock: 3.8 };
    let error = peak.check(70.1).unwrap_err();
    assert!(error.contains("70.0 GFLOP/s, but the benched code reached 70.1"), "{error}");
}
