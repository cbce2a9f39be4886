//! FCUBE: points of a cube, with two opposite octants for each of four clients (NIID-Bench).

use std::sync::Arc;

use fedpipe_random::{ChaCha8Rng, key::unit};
use fedpipe_spec::table::TableRow;

use super::generator::{Generated, Generator, MadeExamples, key, splits};

pub(super) const ROW: TableRow<dyn Generator> = TableRow {
    name: "fcube",
    summary: "points of [−1, 1]³, with label 0 if the first coordinate is above 0; 4 clients with two opposite octants each",
    parameters: &[],
    source: "NIID-Bench, Li 2022, dataset `generated`",
    build: |_| Arc::new(Fcube),
};

const CLIENTS: u32 = 4;
const OF_CLIENT: u32 = 1000;
const OF_TEST: u32 = 1000;

#[derive(Debug)]
struct Fcube;

impl Generator for Fcube {
    fn generate(&self) -> Generated {
        let mut train = MadeExamples::default();
        for client in 0..CLIENTS {
            let mut rng = key(client, 0).rng();
            let signs = [1.0, if client > 1 { -1.0 } else { 1.0 }, if client % 2 == 1 { -1.0 } else { 1.0 }];
            for index in 0..OF_CLIENT {
                // Every other point is in the opposite octant.
                let side = if index % 2 == 0 { 1.0 } else { -1.0 };
                let point = signs.map(|sign| (side * sign * unit(&mut rng)) as f32);
                train.push(point, label(point), client);
            }
        }
        let mut test = MadeExamples::default();
        let mut rng = key(0, 1).rng();
        for _ in 0..OF_TEST {
            let point = point(&mut rng);
            test.push(point, label(point), 0);
        }
        splits([train, test], 3, CLIENTS)
    }
}

fn point(rng: &mut ChaCha8Rng) -> [f32; 3] {
    [(); 3].map(|()| (2.0 * unit(rng) - 1.0) as f32)
}

fn label(point: [f32; 3]) -> u32 {
    u32::from(point[0] <= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SplitFeatures;

    #[test]
    fn each_client_has_two_opposite_octants_and_the_test_set_all() {
        let Generated(splits) = Fcube.generate();
        let SplitFeatures::F32(points) = &splits.train.features else { panic!("points are numbers") };
        assert_eq!((splits.train.len(), splits.test.len(), points.len()), (4000, 1000, 12_000));
        let octant = |point: &[f32]| [point[0] > 0.0, point[1] > 0.0, point[2] > 0.0];
        for (client, points) in points.chunks(3000).enumerate() {
            for (index, point) in points.chunks(3).enumerate() {
                let upper = [true, client < 2, client % 2 == 0];
                let expected = if index % 2 == 0 { upper } else { upper.map(|side| !side) };
                assert_eq!(octant(point), expected, "client {client}, point {index}");
                assert_eq!(splits.train.labels()[client * 1000 + index], u32::from(index % 2 == 1));
            }
        }
        let SplitFeatures::F32(points) = &splits.test.features else { panic!("points are numbers") };
        let octants: std::collections::BTreeSet<_> = points.chunks(3).map(octant).collect();
        assert_eq!(octants.len(), 8);
    }
}
