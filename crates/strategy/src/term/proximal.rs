//! The proximal term of FedProx (Li 2020, equation 2): μ/2 ‖w − w_received‖² is added to the local loss.

use std::sync::Arc;

use fedpipe_protocol::{Phase, feature};
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{ClientTerm, Given, Prepared};

pub(crate) const MU: Parameter = Parameter {
    key: "mu",
    default: None,
    range: Range::NotNegative,
    help: "μ, the strength of the pull to the received weights; common are 0.001 to 1",
};

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "proximal",
    summary: "μ/2 ‖w − w_received‖² is added to the loss",
    parameters: &[MU],
    source: "Li 2020, equation 2",
    build: |values| Arc::new(Proximal { mu: values.number("mu") as f32 }),
};

#[derive(Debug)]
struct Proximal {
    mu: f32,
}

impl ClientTerm for Proximal {
    fn features(&self) -> &'static [&'static str] {
        if self.mu > 0.0 { &[feature::PROXIMAL] } else { &[] }
    }

    /// μ = 0 is no term, so that it has the bits of FedAvg.
    fn proximal(&self) -> f32 {
        self.mu
    }

    fn prepare(&self, given: &Given<'_>) -> Prepared {
        let phase = Phase { proximal: self.mu, ..given.work.phase() };
        Prepared::one(phase, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        local_work::ClientWork,
        term::testing::{given, layout},
    };

    #[test]
    fn a_request_has_the_coefficient_and_no_part() {
        let layout = layout();
        let given = Given { work: ClientWork::epochs(3), ..given(&layout) };
        let prepared = Proximal { mu: 0.5 }.prepare(&given);
        assert_eq!((prepared.phases[0].epochs, prepared.phases[0].proximal, prepared.parts), (3, 0.5, Vec::new()));
        let none = Proximal { mu: 0.0 };
        assert_eq!((none.prepare(&given).phases, none.features()), (vec![Phase::plain(3)], &[][..]));
    }
}
