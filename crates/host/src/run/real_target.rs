//! The sums over a real target: the checks of an answer, and the errors that the sums of all blocks give.

use fedpipe_protocol::{BlockSums, RegressionSums, Target};
use fedpipe_record::{cause::Cause, finite::NotFinite, regression::Regression};

use crate::{process::conversation::Checked, run::evaluation_answers::ExpectedScores};

/// Checks that each block of an evaluation has the sums of a real target exactly if the task has one, and that they are
/// possible. `scored` names the examples.
pub(super) fn check(blocks: &[BlockSums], scored: &str, expected: &ExpectedScores<'_>) -> Checked {
    let &ExpectedScores { target, remedy, .. } = expected;
    blocks.iter().try_for_each(|&BlockSums { block, examples, regression, .. }| match (target, regression) {
        (Target::Classes(_), None) => Ok(()),
        (Target::Classes(_), Some(_)) => {
            Err(Cause::rejected(format!("its sums for block {block} are of a real target, but the data have classes")))
        }
        (Target::Real, None) => {
            Err(Cause::rejected(format!("its sums for block {block} lack `regression`, which a real target needs")))
        }
        (Target::Real, Some(sums)) if sums.is_possible(examples) => Ok(()),
        (Target::Real, Some(sums)) => Err(Cause::rejected(format!(
            "the global weights have a squared error of {:e} on block {block} of {scored}; {remedy}",
            sums.squared_error
        ))),
    })
}

/// Returns the sums over all blocks, which are added in block order; `None` for classes.
pub(super) fn sums(blocks: &[BlockSums]) -> Option<RegressionSums> {
    blocks.iter().filter_map(|block| block.regression).reduce(RegressionSums::plus)
}

/// Returns the errors over all blocks; `None` for classes.
pub(super) fn regression(blocks: &[BlockSums], examples: u64) -> Result<Option<Regression>, NotFinite> {
    sums(blocks).map(|sums| Regression::new(&sums, examples)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(block: u32, regression: Option<RegressionSums>) -> BlockSums {
        BlockSums { block, loss_sum: 1.0, correct: 0, examples: 2, regression }
    }

    fn sums(squared_error: f64) -> RegressionSums {
        RegressionSums { squared_error, absolute_error: 1.0, target_sum: 2.0, target_square_sum: 10.0 }
    }

    #[test]
    fn the_sums_of_a_block_are_of_the_tasks_kind_and_possible() {
        let cases = [
            (Target::Classes(3), None, None),
            (Target::Real, Some(sums(1.0)), None),
            (Target::Classes(3), Some(sums(1.0)), Some("its sums for block 4 are of a real target")),
            (Target::Real, None, Some("its sums for block 4 lack `regression`")),
            (Target::Real, Some(sums(f64::NAN)), Some("a squared error of NaN on block 4 of the test set; lower it")),
            (Target::Real, Some(sums(1e300)), Some("a squared error of 1e300 on block 4 of the test set; lower it")),
        ];
        for (target, regression, refused) in cases {
            let expected = ExpectedScores { examples: 2, target, remedy: "lower it" };
            let why = check(&[block(4, regression)], "the test set", &expected).err().map(|cause| cause.to_string());
            assert_eq!(why.is_some(), refused.is_some(), "{why:?}");
            assert!(refused.is_none_or(|text| why.as_ref().is_some_and(|why| why.contains(text))), "{why:?}");
        }
    }

    #[test]
    fn the_errors_of_all_blocks_follow_from_their_sums() {
        let blocks = [block(0, Some(sums(1.0))), block(1, Some(sums(15.0)))];
        let regression = regression(&blocks, 4).unwrap().unwrap();
        // Squared error 16, absolute error 2, targets Σ 4 and Σ² 20: the variance of the targets is 5 − 1.
        let expected = [Some(2.0), Some(0.5), Some(0.0)];
        let numbers = [Some(regression.rmse), Some(regression.mae), regression.r2];
        assert_eq!(numbers.map(|number| number.map(|number| number.get())), expected);
        assert_eq!(super::regression(&[block(0, None)], 2), Ok(None));
    }
}
