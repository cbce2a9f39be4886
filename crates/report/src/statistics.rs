//! Means, deviations, and tests of paired results: pure functions of numbers.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The most pairs of which every combination of signs is counted: about a million combinations.
const MOST_FLIPPED: usize = 20;

/// The level of a confidence interval.
const LEVEL: f64 = 0.95;

/// The mean of some numbers, and their sample standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The number of numbers.
    pub count: usize,
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation, with the divisor n − 1; `None` for one number.
    pub sd: Option<f64>,
}

/// The comparison of paired results.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// The number of pairs.
    pub pairs: usize,
    /// The mean of the differences, second less first.
    pub mean: f64,
    /// Student's paired t-test; `None` for one pair, and if all differences are equal.
    pub student: Option<Student>,
    /// The p-value of the exact sign-flip test, two-sided; `None` above 20 pairs.
    pub sign_flip_p: Option<f64>,
}

/// Student's paired t-test, two-sided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Student {
    /// The statistic.
    pub t: f64,
    /// The p-value.
    pub p: f64,
    /// The 95 % confidence interval of the mean difference.
    pub interval: (f64, f64),
}

/// Returns the spread of some numbers; `None` if there are none.
pub fn spread(numbers: &[f64]) -> Option<Spread> {
    let count = numbers.len();
    if count == 0 {
        return None;
    }
    let mean = numbers.iter().sum::<f64>() / count as f64;
    let squares: f64 = numbers.iter().map(|number| (number - mean) * (number - mean)).sum();
    let sd = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
    Some(Spread { count, mean, sd })
}

/// Compares the second numbers of some pairs with the first; `None` if there is no pair.
pub fn paired(pairs: &[(f64, f64)]) -> Option<Paired> {
    let differences: Vec<f64> = pairs.iter().map(|(first, second)| second - first).collect();
    let Spread { count, mean, sd } = spread(&differences)?;
    Some(Paired {
        pairs: count,
        mean,
        student: sd.and_then(|sd| student(count, mean, sd)),
        sign_flip_p: (count <= MOST_FLIPPED).then(|| sign_flip_p(&differences)),
    })
}

fn student(count: usize, mean: f64, sd: f64) -> Option<Student> {
    let error = sd / (count as f64).sqrt();
    // Equal differences leave a rest of rounding.
    if error <= f64::EPSILON * mean.abs() {
        return None;
    }
    let distribution = StudentsT::new(0.0, 1.0, (count - 1) as f64).ok()?;
    let t = mean / error;
    let half = error * distribution.inverse_cdf(f64::midpoint(1.0, LEVEL));
    Some(Student { t, p: 2.0 * distribution.cdf(-t.abs()), interval: (mean - half, mean + half) })
}

/// Returns the share of all combinations of signs whose sum is at least as far from zero as that of the differences.
/// The test assumes that a difference is as likely as its negative.
fn sign_flip_p(differences: &[f64]) -> f64 {
    let sum_of = |signs: u32| {
        let signed = differences.iter().enumerate();
        signed.map(|(place, difference)| if signs >> place & 1 == 1 { -difference } else { *difference }).sum::<f64>()
    };
    let observed = sum_of(0).abs();
    // Sums that are equal on paper differ by rounding.
    let greatest: f64 = differences.iter().map(|difference| difference.abs()).sum();
    let least = observed - 1e-12 * greatest;
    let all = 1_u32 << differences.len();
    let as_far = (0..all).filter(|&signs| sum_of(signs).abs() >= least).count();
    as_far as f64 / f64::from(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        a: Vec<f64>,
        b: Vec<f64>,
        mean: f64,
        sd_of_a: f64,
        t: f64,
        p: f64,
        low: f64,
        high: f64,
        sign_flip_p: f64,
    }

    fn is_near(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= 1e-9 * (1.0 + expected.abs())
    }

    #[test]
    fn the_statistics_are_those_of_scipy() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../statistics.json")).unwrap();
        assert_eq!(cases.len(), 6);
        for Case { a, b, mean, sd_of_a, t, p, low, high, sign_flip_p } in cases {
            let pairs: Vec<(f64, f64)> = a.iter().copied().zip(b).collect();
            let paired = paired(&pairs).unwrap();
            let student = paired.student.unwrap();
            let own = [paired.mean, student.t, student.p, student.interval.0, student.interval.1];
            let theirs = [mean, t, p, low, high];
            assert!(own.iter().zip(theirs).all(|(own, theirs)| is_near(*own, theirs)), "{own:?} {theirs:?}");
            assert!(is_near(paired.sign_flip_p.unwrap(), sign_flip_p), "{paired:?} {sign_flip_p}");
            assert!(is_near(spread(&a).unwrap().sd.unwrap(), sd_of_a));
            assert_eq!(paired.pairs, a.len());
        }
    }

    #[test]
    fn few_or_equal_numbers_have_no_test() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { count: 1, mean: 3.0, sd: None }));
        assert_eq!(paired(&[]), None);
        let one = paired(&[(1.0, 2.0)]).unwrap();
        assert_eq!((one.pairs, one.mean, one.student, one.sign_flip_p), (1, 1.0, None, Some(1.0)));
        let equal = paired(&[(0.1, 0.4), (0.2, 0.5), (0.3, 0.6)]).unwrap();
        assert_eq!((equal.student, equal.sign_flip_p), (None, Some(0.25)));
        let same = paired(&[(1.0, 1.0); 3]).unwrap();
        assert_eq!((same.mean, same.student, same.sign_flip_p), (0.0, None, Some(1.0)));
        let many: Vec<(f64, f64)> = (0..21).map(|n| (0.0, f64::from(n))).collect();
        assert_eq!(paired(&many).unwrap().sign_flip_p, None);
    }
}
