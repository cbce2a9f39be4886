//! The table of a deal: the examples of each client by class.

use fedpipe_data::{DatasetInfo, DatasetTarget};

/// The examples of each client, and those of each class.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionTable {
    /// The name of the dataset.
    pub dataset: String,
    /// The clients: the names that they have in the dataset, or their numbers.
    pub clients: Vec<String>,
    /// The names of the classes; empty without labels.
    pub classes: Vec<String>,
    /// The number of examples of each client.
    pub sizes: Vec<u64>,
    /// The number of examples of each class, for each client; empty without labels.
    pub counts: Vec<Vec<u64>>,
}

impl PartitionTable {
    /// Returns the table of a dataset that is dealt.
    pub fn new(dataset: &DatasetInfo, sizes: &[u64], counts: &[Vec<u64>]) -> Self {
        let classes = match &dataset.target {
            _ if counts.is_empty() => Vec::new(),
            DatasetTarget::Classes { class_names, .. } if !class_names.is_empty() => class_names.clone(),
            target => (0..target.class_count().unwrap_or(0)).map(|class| format!("class-{class}")).collect(),
        };
        let name = |client: usize| dataset.client_names.get(client).cloned().unwrap_or_else(|| client.to_string());
        Self {
            dataset: dataset.name.clone(),
            clients: (0..sizes.len()).map(name).collect(),
            classes,
            sizes: sizes.to_vec(),
            counts: counts.to_vec(),
        }
    }

    /// Returns the distance of each client's labels to those of all clients, which is that to an iid deal: the sum over
    /// the classes of |share in the client − share in all| (Zhao 2018, section 3.2). It is from 0 to below 2.
    ///
    /// Without labels there are none.
    pub fn label_distances(&self) -> Vec<f64> {
        if self.classes.is_empty() {
            return Vec::new();
        }
        let all = |class: usize| self.counts.iter().map(|counts| counts[class]).sum::<u64>() as f64;
        let total = self.sizes.iter().sum::<u64>() as f64;
        let shares: Vec<f64> = (0..self.classes.len()).map(|class| all(class) / total).collect();
        let distance = |(counts, size): (&Vec<u64>, &u64)| {
            let both = counts.iter().zip(&shares);
            both.map(|(count, share)| (*count as f64 / *size as f64 - share).abs()).fold(0.0, |sum, part| sum + part)
        };
        // A client that never trains has no labels here.
        self.counts.iter().zip(&self.sizes).filter(|(_, size)| **size > 0).map(distance).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_labels_is_zero_for_equal_shares_and_below_two() {
        let distances = |counts: &[[u64; 2]]| {
            let sizes = counts.iter().map(|counts| counts.iter().sum()).collect();
            let counts = counts.iter().map(|counts| counts.to_vec()).collect();
            let classes = vec!["a".into(), "b".into()];
            PartitionTable { dataset: "d".into(), clients: vec![], classes, sizes, counts }.label_distances()
        };
        assert_eq!(distances(&[[5, 5], [20, 20]]), [0.0, 0.0]);
        // Each has one class, and all have half of each.
        assert_eq!(distances(&[[10, 0], [0, 10]]), [1.0, 1.0]);
        // Shares 1 and 0 beside ¼ and ¾; ⅙ and ⅚ beside the same.
        let [one, other] = distances(&[[1, 0], [0, 3]])[..] else { panic!() };
        assert_eq!((one, other), (1.5, 0.5));
        assert_eq!(distances(&[[5, 5], [0, 0]]), [0.0]);
        let (sizes, counts) = (vec![5, 5], vec![vec![]; 2]);
        let real = PartitionTable { dataset: "d".into(), clients: vec![], classes: vec![], sizes, counts };
        assert!(real.label_distances().is_empty());
    }
}
