//! The table of a deal as text, as pure functions.

use fedpipe_record::partition_table::PartitionTable;

/// Returns the table with aligned columns: a line for each client, and one for all.
pub(crate) fn table_lines(table: &PartitionTable) -> Vec<String> {
    let header = ["client".to_owned()].into_iter().chain(table.classes.clone()).chain(["total".to_owned()]);
    let all = (0..table.classes.len()).map(|class| table.counts.iter().map(|counts| counts[class]).sum());
    let last = numbers("all".to_owned(), &all.collect::<Vec<_>>(), table.sizes.iter().sum());
    let rows: Vec<Vec<String>> =
        [header.collect()].into_iter().chain(rows(table, &table.clients)).chain([last]).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.classes.len() + 2).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        cells.join("  ")
    };
    rows.iter().map(line).collect()
}

/// Returns the table in the shape of FedLab's `partition_report`, with commas.
pub(crate) fn csv_lines(table: &PartitionTable) -> Vec<String> {
    let classes: String = (0..table.classes.len()).map(|class| format!(",class-{class}")).collect();
    let numbers: Vec<String> = (0..table.sizes.len()).map(|client| client.to_string()).collect();
    let rows = rows(table, &numbers).map(|row| row.join(","));
    [format!("cid{classes},TotalAmount")].into_iter().chain(rows).collect()
}

/// Returns the lines below the table: the sizes, and the distance of the labels to those of all clients.
pub(crate) fn summary_lines(table: &PartitionTable) -> Vec<String> {
    let mut sizes = table.sizes.clone();
    sizes.sort_unstable();
    let (least, median, most) = (sizes[0], sizes[(sizes.len() - 1) / 2], sizes[sizes.len() - 1]);
    let mut lines = vec![format!("sizes: {least} to {most}, median {median}")];
    let distances = table.label_distances();
    if !distances.is_empty() {
        let mean = distances.iter().fold(0.0, |sum, distance| sum + distance) / distances.len() as f64;
        let most = distances.iter().fold(0.0, |most, distance| if *distance > most { *distance } else { most });
        lines.push(format!(
            "labels: distance to the iid deal {mean:.3} on average, {most:.3} at most (sum over classes of |share in the \
             client - share in all|, Zhao 2018, section 3.2; 0 is iid, and 2 is never reached)"
        ));
    }
    lines
}

/// Returns the row of each client, which begins with its name.
fn rows<'t>(table: &'t PartitionTable, names: &'t [String]) -> impl Iterator<Item = Vec<String>> + 't {
    let counts = |client: usize| table.counts.get(client).map_or(&[][..], Vec::as_slice);
    let row = move |(client, name): (usize, &String)| numbers(name.clone(), counts(client), table.sizes[client]);
    names.iter().enumerate().map(row)
}

fn numbers(name: String, counts: &[u64], total: u64) -> Vec<String> {
    [name].into_iter().chain(counts.iter().chain([&total]).map(u64::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> PartitionTable {
        let (classes, counts) = (vec!["cat".into(), "class-1".into()], vec![vec![10, 0], vec![0, 30]]);
        let clients = vec!["0".into(), "north".into()];
        PartitionTable { dataset: "d".into(), clients, classes, sizes: vec![10, 30], counts }
    }

    #[test]
    fn the_table_is_aligned_and_ends_with_the_sums() {
        let expected = [
            "client  cat  class-1  total",
            "     0   10        0     10",
            " north    0       30     30",
            "   all   10       30     40",
        ];
        assert_eq!(table_lines(&table()), expected);
    }

    #[test]
    fn the_commas_are_those_of_fedlab() {
        assert_eq!(csv_lines(&table()), ["cid,class-0,class-1,TotalAmount", "0,10,0,10", "1,0,30,30"]);
    }

    #[test]
    fn the_lines_below_say_sizes_and_distance() {
        let lines = summary_lines(&table());
        assert_eq!(lines[0], "sizes: 10 to 30, median 10");
        assert!(
            lines[1].starts_with("labels: distance to the iid deal 1.000 on average, 1.500 at most"),
            "{}",
            lines[1]
        );
        let without = PartitionTable { classes: vec![], counts: vec![], ..table() };
        assert_eq!(summary_lines(&without).len(), 1);
        assert_eq!(csv_lines(&without), ["cid,TotalAmount", "0,10", "1,30"]);
    }
}
