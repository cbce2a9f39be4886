//! Gives each client the rows of a group of natural clients, such as an organisation of users (Flower).

use std::{borrow::Cow, sync::Arc};

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Labelled, Partitioner, cut::even_sizes};
use crate::error::DataError;

/// Natural clients are grouped in the order of their names, as with `sort_unique_ids=True` in Flower.
pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "grouped-natural",
    summary: "gives each client the examples of several natural clients, in the order of their names",
    parameters: &[
        Parameter { key: "size", default: None, range: Range::Count, help: "the number of natural clients in a group" },
        Parameter {
            key: "rest",
            default: Some(Value::Text(Cow::Borrowed("smaller"))),
            range: Range::Word {
                of: &["smaller", "larger", "drop", "refuse"],
                wants: "smaller, larger, drop or refuse",
            },
            help: "smaller: the natural clients that fill no group are a smaller one; larger: the groups take them in; \
                   drop: they are left out; refuse: there may be none",
        },
    ],
    source: "Flower, `GroupedNaturalIdPartitioner`",
    build: |values| Arc::new(GroupedNatural { size: values.count("size"), rest: values.text("rest").to_owned() }),
};

#[derive(Debug)]
struct GroupedNatural {
    size: u32,
    /// The fate of the natural clients that fill no group.
    rest: String,
}

impl GroupedNatural {
    /// Returns the number of natural clients in each group.
    fn groups(&self, natural: u32) -> Result<Vec<usize>, DataError> {
        let Self { size, rest } = self;
        let (whole, left) = (natural / size, natural % size);
        if rest == "smaller" {
            let last = (left > 0).then_some(left as usize);
            return Ok(std::iter::repeat_n(*size as usize, whole as usize).chain(last).collect());
        }
        if whole == 0 || rest == "refuse" && left > 0 {
            return Err(DataError::Groups { size: *size, natural, left });
        }
        let grouped = if rest == "larger" { natural } else { natural - left };
        Ok(even_sizes(grouped as usize, whole as usize))
    }
}

impl Partitioner for GroupedNatural {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, _: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let of_row = labelled.natural.ok_or(DataError::NoNaturalClients)?;
        let sizes = self.groups(of_row.iter().max().map_or(0, |last| last + 1))?;
        if sizes.len() != clients as usize {
            let what = format!("the dataset in groups of {}", self.size);
            return Err(DataError::OtherClients { what, decided: sizes.len() as u32, clients });
        }
        let group_of = (0..).zip(&sizes).flat_map(|(group, size)| std::iter::repeat_n(group, *size));
        let group_of: Vec<usize> = group_of.collect();
        let mut parts = vec![Vec::new(); sizes.len()];
        for (row, client) in (0..).zip(of_row) {
            // A natural client beyond the groups is left out.
            if let Some(&group) = group_of.get(*client as usize) {
                parts[group].push(row);
            }
        }
        Ok(parts)
    }

    fn is_natural(&self) -> bool {
        true
    }

    fn client_count(&self, natural: u32) -> Result<u32, DataError> {
        self.groups(natural).map(|groups| groups.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::{Scheme, partition};
    use crate::testing::assert_says;

    fn scheme(text: &str) -> Scheme {
        text.parse().unwrap()
    }

    /// The groups are those of Flower's partitioner, with `sort_unique_ids=True`.
    #[test]
    fn the_rest_of_the_clients_has_the_fate_that_is_given() {
        let of_row: Vec<u32> = (0..8).chain([7, 0, 3]).collect();
        let labelled = Labelled { natural: Some(&of_row), ..Labelled::new(&[0; 11], 1) };
        let groups = |text: &str| {
            let scheme = scheme(text);
            let clients = scheme.client_count(8).unwrap();
            partition(&scheme, &labelled, clients, 0).unwrap()
        };
        assert_eq!(groups("grouped-natural:3"), [vec![0, 1, 2, 9], vec![3, 4, 5, 10], vec![6, 7, 8]]);
        assert_eq!(groups("grouped-natural:size=3,rest=larger"), [vec![0, 1, 2, 3, 9, 10], vec![4, 5, 6, 7, 8]]);
        assert_eq!(groups("grouped-natural:size=3,rest=drop"), [vec![0, 1, 2, 9], vec![3, 4, 5, 10]]);
        assert_eq!(groups("grouped-natural:size=4,rest=refuse").len(), 2);
        assert_eq!(groups("grouped-natural:9").len(), 1);
        assert_eq!(groups("grouped-natural:1"), partition(&scheme("natural"), &labelled, 8, 0).unwrap());
    }

    #[test]
    fn groups_that_cannot_be_are_refused() {
        let refused = |text: &str| scheme(text).client_count(8).unwrap_err();
        assert_says(&refused("grouped-natural:size=3,rest=refuse"), &["8 natural clients", "groups of 3", "leave 2"]);
        assert_says(&refused("grouped-natural:size=9,rest=drop"), &["groups of 9", "leave 8", "rest=smaller"]);
        let labelled = Labelled { natural: Some(&[0, 1, 2]), ..Labelled::new(&[0; 3], 1) };
        let other = partition(&scheme("grouped-natural:2"), &labelled, 3, 0).unwrap_err();
        assert_says(&other, &["the clients are 3", "in groups of 2 has 2", "give 2"]);
        let none = partition(&scheme("grouped-natural:2"), &Labelled::new(&[0; 3], 1), 3, 0).unwrap_err();
        assert_says(&none, &["no natural clients", "--client-column"]);
    }
}
