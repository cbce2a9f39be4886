//! Tables of text: columns with a head, as wide as their longest value.

/// A column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) head: String,
    /// `true` for numbers, which end at the right edge.
    pub(crate) is_right: bool,
}

impl Column {
    pub(crate) fn left(head: impl Into<String>) -> Self {
        Self { head: head.into(), is_right: false }
    }

    pub(crate) fn right(head: impl Into<String>) -> Self {
        Self { head: head.into(), is_right: true }
    }
}

/// Returns the lines of a table. A row has a value for each column.
pub(crate) fn lines(columns: &[Column], rows: &[Vec<String>]) -> Vec<String> {
    let width_of = |place: usize| {
        let values = rows.iter().filter_map(|row| row.get(place));
        let widths = values.map(|value| value.chars().count());
        widths.max().unwrap_or(0).max(columns[place].head.chars().count())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width_of).collect();
    let line = |values: Vec<&str>| {
        let cells = columns.iter().zip(&widths).zip(values);
        let cells = cells.map(
            |((column, &width), value)| {
                if column.is_right { format!("{value:>width$}") } else { format!("{value:<width$}") }
            },
        );
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(columns.iter().map(|column| column.head.as_str()).collect());
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    [head].into_iter().chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_wide_as_its_longest_value() {
        let columns = [Column::left("name"), Column::right("n")];
        let rows = [["a", "10"], ["größer", "2"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(lines(&columns, &rows), ["name     n", "a       10", "größer   2"]);
        assert_eq!(lines(&columns, &[]), ["name  n"]);
    }
}
