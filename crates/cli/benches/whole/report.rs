//! The figures, as a table on the screen, as Markdown and as lines of JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::machine::Machine;

/// Repeated measurements of one thing, sorted, at least one.
#[derive(Debug, Clone)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn new(mut figures: Vec<f64>) -> Self {
        assert!(!figures.is_empty(), "nothing was measured");
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    pub(crate) fn median(&self) -> f64 {
        let half = self.0.len() / 2;
        if self.0.len().is_multiple_of(2) { f64::midpoint(self.0[half - 1], self.0[half]) } else { self.0[half] }
    }

    pub(crate) fn least(&self) -> f64 {
        self.0[0]
    }

    pub(crate) fn most(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        Self::new(self.0.iter().copied().map(change).collect())
    }
}

/// The unit of the figures of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    Megabytes,
    Percent,
    Means,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Seconds => "s",
            Unit::Milliseconds => "ms",
            Unit::Megabytes => "MB",
            Unit::Percent => "%",
            Unit::Means => "×",
        }
    }

    /// Returns `value` with three significant digits.
    fn show(self, value: f64) -> String {
        let places = match value.abs() {
            less if less < 1.0 => 3,
            less if less < 10.0 => 2,
            less if less < 100.0 => 1,
            _ => 0,
        };
        format!("{value:.places$}")
    }
}

/// The goal of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// At least a share of the FMA peak.
    OfPeak(f64),
}

/// Floating-point operations, counted as if no input were zero, and the cores that share them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operations {
    pub(crate) count: f64,
    /// The operations that no kernel can skip, as far as they are known.
    pub(crate) least: f64,
    pub(crate) cores: usize,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) unit: Unit,
    pub(crate) figures: Figures,
    pub(crate) goals: Vec<Goal>,
    pub(crate) operations: Option<Operations>,
    /// The same work in NumPy, in the row's unit.
    pub(crate) numpy: Option<Figures>,
}

impl Row {
    pub(crate) fn new(work: impl Into<String>, unit: Unit, figures: Figures) -> Self {
        Self { work: work.into(), unit, figures, goals: Vec::new(), operations: None, numpy: None }
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    pub(crate) fn operations(mut self, count: f64, cores: usize) -> Self {
        self.operations = Some(Operations { count, least: 0.0, cores });
        self
    }

    /// Declares that no kernel can skip `count` of the row's operations.
    pub(crate) fn not_skipped(mut self, count: f64) -> Self {
        self.operations.iter_mut().for_each(|operations| operations.least = count);
        self
    }

    pub(crate) fn numpy(mut self, figures: Option<Figures>) -> Self {
        self.numpy = figures;
        self
    }

    /// Returns the achieved operations a second over the peak of the cores that share the work.
    fn of_peak(&self, peak: Option<f64>) -> Option<f64> {
        let Operations { count, cores, .. } = self.operations?;
        Some(count / self.figures.median() / 1e9 / (peak? * cores as f64))
    }

    fn is_met(&self, goal: Goal, peak: Option<f64>) -> bool {
        match goal {
            Goal::AtMost(most) => self.figures.median() <= most,
            Goal::AtLeast(least) => self.figures.median() >= least,
            Goal::OfPeak(share) => self.of_peak(peak).is_some_and(|reached| reached >= share),
        }
    }

    fn show_goal(&self, goal: Goal) -> String {
        match goal {
            Goal::AtMost(most) => format!("≤ {most} {}", self.unit.name()),
            Goal::AtLeast(least) => format!("≥ {least} {}", self.unit.name()),
            Goal::OfPeak(share) => format!("≥ {:.0} % of peak", 100.0 * share),
        }
    }

    fn cells(&self, peak: Option<f64>) -> Vec<String> {
        let Figures(all) = &self.figures;
        let show = |value| self.unit.show(value);
        let spread = format!("{} … {}, n {}", show(self.figures.least()), show(self.figures.most()), all.len());
        let join = |texts: Vec<String>| if texts.is_empty() { "–".to_owned() } else { texts.join(", ") };
        let met = |&goal: &Goal| if self.is_met(goal, peak) { "yes".to_owned() } else { "NO".to_owned() };
        let ratio = |twin: &Figures| format!("{:.1} ×", twin.median() / self.figures.median());
        vec![
            self.work.clone(),
            format!("{} {}", show(self.figures.median()), self.unit.name()),
            spread,
            join(self.goals.iter().map(|&goal| self.show_goal(goal)).collect()),
            join(self.goals.iter().map(met).collect()),
            self.of_peak(peak).map_or("–".into(), |share| format!("{:.0} %", 100.0 * share)),
            self.numpy.as_ref().map_or("–".into(), ratio),
        ]
    }

    fn json(&self, peak: Option<f64>) -> Value {
        json!({
            "work": self.work,
            "unit": self.unit.name(),
            "median": self.figures.median(),
            "least": self.figures.least(),
            "most": self.figures.most(),
            "n": self.figures.count(),
            "goals": self.goals.iter().map(|&goal| self.show_goal(goal)).collect::<Vec<_>>(),
            "met": self.goals.iter().map(|&goal| self.is_met(goal, peak)).collect::<Vec<_>>(),
            "of_peak": self.of_peak(peak),
            "numpy": self.numpy.as_ref().map(Figures::median),
        })
    }
}

/// All rows, with a head.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn of(rows: &[Row], peak: Option<f64>) -> Self {
        let head = vec!["work", "median", "least … most", "goal", "met", "of the FMA peak", "NumPy takes"];
        Self { head, rows: rows.iter().map(|row| row.cells(peak)).collect() }
    }

    /// Returns one line of JSON for each row, with its cells as they are shown.
    pub(crate) fn json_lines(&self, work: &str, machine: &Machine) -> String {
        let line = |row: &Vec<String>| {
            let cells = self.head.iter().zip(row).map(|(head, cell)| ((*head).to_owned(), cell.clone().into()));
            let mut line = Value::Object(cells.collect());
            line["work"] = work.into();
            line["machine"] = machine.json();
            format!("{line}\n")
        };
        self.rows.iter().map(line).collect()
    }

    /// Returns the table for the screen, or as Markdown.
    pub(crate) fn show(&self, markdown: bool) -> String {
        let lines = || std::iter::once(self.head.iter().map(ToString::to_string).collect()).chain(self.rows.clone());
        let width = |column: usize| lines().map(|line: Vec<String>| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = String::new();
        for (index, line) in lines().enumerate() {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            let _ = if markdown {
                writeln!(text, "| {} |", line.join(" | "))
            } else {
                writeln!(text, "{}", cells.join("  ").trim_end())
            };
            if markdown && index == 0 {
                let _ = writeln!(text, "|{}", "---|".repeat(line.len()));
            }
        }
        text
    }
}

/// Returns the most GFLOP/s a core in `rows`, without any operation that a kernel may have skipped.
pub(crate) fn reached(rows: &[Row]) -> f64 {
    let rate = |row: &Row| {
        let Operations { least, cores, .. } = row.operations?;
        Some(least / row.figures.least() / 1e9 / cores as f64)
    };
    rows.iter().filter_map(rate).fold(0.0, |most, rate| if rate > most { rate } else { most })
}

/// Returns one line of JSON for each row, with the machine on which the row was measured.
pub(crate) fn json_lines(rows: &[Row], machine: &Machine, peak: Option<f64>) -> String {
    let line = |row: &Row| {
        let mut line = row.json(peak);
        line["machine"] = machine.json();
        line["peak_gflops"] = peak.into();
        format!("{line}\n")
    };
    rows.iter().map(line).collect()
}
