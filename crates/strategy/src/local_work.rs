//! The work of a client in a round: local epochs, a part of one among them, or local steps.

use fedpipe_protocol::{Phase, feature};

/// The work that an experiment asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LocalWork {
    /// Local epochs, such as 0.5 or 2.5.
    Epochs(f64),
    /// Mini-batches, over as many epochs as they need.
    Steps(u64),
}

/// The work of one client: so many local epochs, of which the last ends with the step limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientWork {
    /// The local epochs that are begun.
    pub epochs: u64,
    /// The mini-batches of all epochs; none for whole epochs.
    pub steps: Option<u64>,
}

impl LocalWork {
    /// Returns the work over a partition.
    ///
    /// E epochs of B mini-batches are E · B steps, rounded to the nearest whole number, a half up, and at least 1. The
    /// last epoch visits the first rows of its order. A partition without examples, of a client that never trains, has
    /// no work.
    pub fn over(self, examples: u64, batch_size: u64) -> ClientWork {
        let batches = examples.div_ceil(batch_size);
        let steps = match self {
            _ if batches == 0 => return ClientWork::epochs(0),
            LocalWork::Epochs(epochs) if self.is_whole() => return ClientWork::epochs(epochs as u64),
            LocalWork::Epochs(epochs) => ((epochs * batches as f64).round() as u64).max(1),
            LocalWork::Steps(steps) => steps,
        };
        let epochs = steps.div_ceil(batches);
        ClientWork { epochs, steps: (steps % batches != 0).then_some(steps) }
    }

    /// Returns `true` for a whole number of epochs or steps.
    pub(crate) fn is_counted(self) -> bool {
        matches!(self, LocalWork::Steps(_)) || self.is_whole()
    }

    /// Returns the number of epochs or steps, without a part of one.
    pub(crate) fn whole(self) -> u64 {
        match self {
            LocalWork::Epochs(epochs) => epochs as u64,
            LocalWork::Steps(steps) => steps,
        }
    }

    /// Returns the features that each client needs.
    pub fn features(self) -> Option<&'static str> {
        (!self.is_whole()).then_some(feature::STEP_LIMIT)
    }

    /// Returns `true` for whole epochs over any partition.
    fn is_whole(self) -> bool {
        matches!(self, LocalWork::Epochs(epochs) if epochs.fract() == 0.0)
    }
}

impl ClientWork {
    /// Returns whole local epochs.
    pub fn epochs(epochs: u64) -> Self {
        Self { epochs, steps: None }
    }

    /// Returns the plain phase that does the work.
    pub fn phase(self) -> Phase {
        Phase { steps: self.steps, ..Phase::plain(self.epochs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 320 examples are 10 batches of 32, and 321 are 11.
    #[test]
    fn epochs_and_steps_become_the_steps_of_a_partition() {
        let work = |epochs, steps| ClientWork { epochs, steps };
        let cases = [
            (LocalWork::Epochs(1.0), 320, work(1, None)),
            (LocalWork::Epochs(3.0), 321, work(3, None)),
            (LocalWork::Epochs(0.5), 320, work(1, Some(5))),
            (LocalWork::Epochs(0.5), 321, work(1, Some(6))),
            (LocalWork::Epochs(2.5), 320, work(3, Some(25))),
            (LocalWork::Epochs(0.01), 320, work(1, Some(1))),
            (LocalWork::Epochs(0.5), 1, work(1, None)),
            (LocalWork::Epochs(1.98), 320, work(2, None)),
            (LocalWork::Steps(7), 320, work(1, Some(7))),
            (LocalWork::Steps(20), 320, work(2, None)),
            (LocalWork::Steps(23), 321, work(3, Some(23))),
            (LocalWork::Steps(1), 1, work(1, None)),
            (LocalWork::Epochs(2.0), 0, work(0, None)),
            (LocalWork::Epochs(0.5), 0, work(0, None)),
            (LocalWork::Steps(7), 0, work(0, None)),
        ];
        for (asked, examples, expected) in cases {
            assert_eq!(asked.over(examples, 32), expected, "{asked:?} over {examples}");
        }
    }

    #[test]
    fn only_whole_epochs_need_no_step_limit() {
        let works = [LocalWork::Epochs(2.0), LocalWork::Epochs(2.5), LocalWork::Steps(10)];
        assert_eq!(works.map(LocalWork::features), [None, Some("step-limit"), Some("step-limit")]);
        assert_eq!(ClientWork { epochs: 2, steps: Some(9) }.phase(), Phase { steps: Some(9), ..Phase::plain(2) });
    }
}
