//! Clients of the same speed and link.

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{BANDWIDTH, Clock, SimulatedClient};

pub(super) const ROW: TableRow<dyn Clock> = TableRow {
    name: "constant",
    summary: "all clients have the same speed and link",
    parameters: &[
        Parameter {
            key: "slowness",
            default: Some(Value::Number(1.0)),
            range: Range::Positive,
            help: "the time of a step, as a multiple of --step-time",
        },
        BANDWIDTH,
    ],
    source: "the reference client",
    build: |values| {
        let (slowness, bandwidth) = (values.number("slowness"), values.number_or_word("bandwidth"));
        Arc::new(ConstantClock(SimulatedClient { slowness, bandwidth }))
    },
};

#[derive(Debug)]
struct ConstantClock(SimulatedClient);

impl Clock for ConstantClock {
    fn draw(&self, _: u64, count: u32, _: &str) -> Result<Vec<SimulatedClient>, String> {
        Ok(vec![self.0; count as usize])
    }

    fn remedy(&self) -> &'static str {
        "give another slowness or bandwidth"
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;

    #[test]
    fn all_clients_are_the_same() {
        let clients = |text: &str| text.parse::<Named<dyn Clock>>().unwrap().clients(7, 3, "").unwrap();
        assert_eq!(clients("constant"), [SimulatedClient { slowness: 1.0, bandwidth: None }; 3]);
        let slow = SimulatedClient { slowness: 2.5, bandwidth: Some(10.0) };
        assert_eq!(clients("constant:slowness=2.5,bandwidth=10"), [slow; 3]);
    }
}
