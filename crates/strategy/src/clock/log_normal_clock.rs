//! Clients whose speed and link are log-normal, the distribution of measured devices (FedScale, Lai 2022).

use std::sync::Arc;

use fedpipe_random::{
    key::{Key, Use},
    normal::standard,
};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{BANDWIDTH, Clock, SimulatedClient};

pub(super) const ROW: TableRow<dyn Clock> = TableRow {
    name: "lognormal",
    summary: "the slowness of a client is exp(σz), and its link bandwidth · exp(σ′z′), with normal numbers z and z′ of its \
              own",
    parameters: &[
        Parameter {
            key: "sigma",
            default: Some(Value::Number(1.0)),
            range: Range::NotNegative,
            help: "σ, the spread of the slowness; the median client is the reference client",
        },
        BANDWIDTH,
        Parameter {
            key: "link-sigma",
            default: Some(Value::Number(0.0)),
            range: Range::NotNegative,
            help: "σ′, the spread of the links; bandwidth is their median",
        },
    ],
    source: "Lai 2022 (FedScale), section 3",
    build: |values| {
        let [sigma, link_sigma] = ["sigma", "link-sigma"].map(|key| values.number(key));
        Arc::new(LogNormalClock { sigma, bandwidth: values.number_or_word("bandwidth"), link_sigma })
    },
};

#[derive(Debug)]
struct LogNormalClock {
    sigma: f64,
    bandwidth: Option<f64>,
    link_sigma: f64,
}

impl Clock for LogNormalClock {
    fn draw(&self, seed: u64, count: u32, _: &str) -> Result<Vec<SimulatedClient>, String> {
        let drawn = |client| {
            let mut rng = Key { seed, purpose: Use::Clock, client, round: 0, epoch: 0 }.rng();
            let slowness = libm::exp(self.sigma * standard(&mut rng));
            let share = libm::exp(self.link_sigma * standard(&mut rng));
            SimulatedClient { slowness, bandwidth: self.bandwidth.map(|median| median * share) }
        };
        Ok((0..count).map(drawn).collect())
    }

    fn remedy(&self) -> &'static str {
        "give a smaller sigma or link-sigma"
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;

    fn clients(text: &str, seed: u64, count: u32) -> Result<Vec<SimulatedClient>, String> {
        text.parse::<Named<dyn Clock>>().unwrap().clients(seed, count, "")
    }

    #[test]
    fn the_logarithms_have_the_spread_and_the_median() {
        let drawn = clients("lognormal:sigma=0.5,bandwidth=20,link-sigma=2", 1, 4000).unwrap();
        let logs = [
            drawn.iter().map(|client| libm::log(client.slowness)).collect::<Vec<_>>(),
            drawn.iter().map(|client| libm::log(client.bandwidth.unwrap() / 20.0)).collect(),
        ];
        for (logs, sigma) in logs.iter().zip([0.5, 2.0]) {
            let mean = logs.iter().sum::<f64>() / 4000.0;
            let deviation = (logs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 4000.0).sqrt();
            // Standard errors: σ/63 and σ/89.
            assert!(mean.abs() < sigma / 12.0 && (deviation / sigma - 1.0).abs() < 0.06, "{mean} {deviation}");
        }
    }

    #[test]
    fn a_client_has_its_own_draw_whatever_the_number_of_clients() {
        let [few, many] = [3, 30].map(|count| clients("lognormal", 1, count).unwrap());
        assert_eq!(few[..], many[..3]);
        assert_ne!(few, clients("lognormal", 2, 3).unwrap());
        assert_eq!(
            clients("lognormal:sigma=0", 1, 2).unwrap(),
            [SimulatedClient { slowness: 1.0, bandwidth: None }; 2]
        );
        assert!(clients("lognormal:sigma=1e6", 1, 9).unwrap_err().contains("give a smaller sigma"));
    }
}
