//! `partition.png`: the examples of each client, as bars and as a heat map of clients and classes.

use fedpipe_record::partition_table::PartitionTable;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::canvas::{Area, Drawn, drawable, png_of};

/// The left edge and the width of both panels.
const LEFT: i32 = 150;
const WIDTH: i32 = 1000;
/// The bars: their upper edge and their height.
const BARS: (i32, i32) = (52, 110);
/// The upper edge of the heat map.
const MAP: i32 = 186;
/// The room right of the panels, for the scale, and below them, for the axis.
const RIGHT: i32 = 110;
const BELOW: i32 = 56;
const BAR: RGBColor = RGBColor(0, 114, 178);
/// The colours of no example, of one, and of the most.
const NONE: RGBColor = RGBColor(255, 255, 255);
const FEW: [f64; 3] = [222.0, 235.0, 247.0];
const MOST: [f64; 3] = [8.0, 48.0, 107.0];
const GRID: RGBColor = RGBColor(200, 200, 200);

/// Columns of the picture: one client each, or the mean of as many as `clients` in a row.
struct Columns {
    clients: usize,
    sizes: Vec<f64>,
    /// (class, column)
    counts: Vec<Vec<f64>>,
}

impl Columns {
    fn of(table: &PartitionTable) -> Self {
        let clients = table.sizes.len().div_ceil(WIDTH as usize).max(1);
        let mean = |values: &[u64]| values.iter().sum::<u64>() as f64 / values.len() as f64;
        let of_class = |class: usize| {
            let counts: Vec<u64> = table.counts.iter().map(|counts| counts[class]).collect();
            counts.chunks(clients).map(mean).collect()
        };
        Self {
            clients,
            sizes: table.sizes.chunks(clients).map(mean).collect(),
            counts: (0..table.classes.len()).map(of_class).collect(),
        }
    }

    /// Returns the left and the right edge of a column.
    fn edges(&self, column: usize) -> (i32, i32) {
        let edge = |column: usize| LEFT + (column as i64 * i64::from(WIDTH) / self.sizes.len() as i64) as i32;
        (edge(column), edge(column + 1))
    }
}

/// Returns the picture of the partitions as a PNG file; `title` stands above it.
///
/// # Errors
/// Returns those of drawing.
pub fn partitions(table: &PartitionTable, title: &str) -> anyhow::Result<Vec<u8>> {
    let columns = Columns::of(table);
    let cell = cell_height(table.classes.len());
    let bottom = if table.classes.is_empty() { BARS.0 + BARS.1 } else { MAP + cell * table.classes.len() as i32 };
    let size = ((LEFT + WIDTH + RIGHT) as u32, (bottom + BELOW) as u32);
    png_of(size, |area| {
        area.fill(&WHITE)?;
        write(area, &drawable(title), (LEFT + WIDTH / 2, 22), 20, HPos::Center)?;
        draw_bars(area, &columns)?;
        if !table.classes.is_empty() {
            draw_map(area, &columns, &table.classes, cell)?;
        }
        draw_axis(area, &columns, &table.clients, bottom)
    })
}

/// Returns the height of a class in pixels: room for a label, or less if there are many classes.
fn cell_height(classes: usize) -> i32 {
    (700 / classes.max(1) as i32).clamp(4, 30)
}

fn draw_bars(area: &Area<'_>, columns: &Columns) -> Drawn {
    let (top, height) = BARS;
    let most = greatest(columns.sizes.iter().copied());
    for (column, size) in columns.sizes.iter().enumerate() {
        let (left, right) = columns.edges(column);
        let gap = i32::from(right - left > 6);
        let upper = top + height - (size / most * f64::from(height)) as i32;
        area.draw(&Rectangle::new([(left + gap, upper), (right - gap, top + height)], BAR.filled()))?;
    }
    write(area, &format!("{most:.0}"), (LEFT - 8, top), 14, HPos::Right)?;
    write(area, "examples", (LEFT - 8, top + height / 2), 15, HPos::Right)?;
    write(area, "0", (LEFT - 8, top + height), 14, HPos::Right)
}

fn draw_map(area: &Area<'_>, columns: &Columns, classes: &[String], cell: i32) -> Drawn {
    let most = greatest(columns.counts.iter().flatten().copied());
    for (class, counts) in columns.counts.iter().enumerate() {
        let top = MAP + class as i32 * cell;
        for (column, count) in counts.iter().enumerate() {
            let (left, right) = columns.edges(column);
            let colour = colour_of(*count, most);
            area.draw(&Rectangle::new([(left, top), (right, top + cell)], colour.filled()))?;
            if right - left >= 44 && cell >= 16 {
                let ink = if *count > 0.5 * most { WHITE } else { BLACK };
                let place = ((left + right) / 2, top + cell / 2);
                area.draw(&Text::new(format!("{count:.0}"), place, style(14, HPos::Center).color(&ink)))?;
            }
        }
        // Every label has its height, or as many are left out between two.
        if class as i32 % (14 / cell).max(1) == 0 {
            write(
                area,
                &shortened(&drawable(&classes[class])),
                (LEFT - 8, top + cell / 2),
                14.min(cell + 8),
                HPos::Right,
            )?;
        }
    }
    let bottom = MAP + classes.len() as i32 * cell;
    area.draw(&Rectangle::new([(LEFT, MAP), (LEFT + WIDTH, bottom)], GRID))?;
    draw_scale(area, most)
}

/// Draws the scale of colours right of the heat map.
fn draw_scale(area: &Area<'_>, most: f64) -> Drawn {
    const HEIGHT: i32 = 90;
    let left = LEFT + WIDTH + 16;
    for step in 0..HEIGHT {
        let colour = colour_of(most * f64::from(HEIGHT - step) / f64::from(HEIGHT), most);
        area.draw(&Rectangle::new([(left, MAP + step), (left + 16, MAP + step + 1)], colour.filled()))?;
    }
    area.draw(&Rectangle::new([(left, MAP + HEIGHT), (left + 16, MAP + HEIGHT + 12)], GRID))?;
    write(area, &format!("{most:.0}"), (left + 24, MAP + 2), 14, HPos::Left)?;
    write(area, "0", (left + 24, MAP + HEIGHT + 6), 14, HPos::Left)
}

/// Draws the names of the clients, or their numbers if a name is wider than its place.
fn draw_axis(area: &Area<'_>, columns: &Columns, names: &[String], bottom: i32) -> Drawn {
    const CHARACTER: usize = 8;
    let clients = names.len();
    let step = label_step(clients);
    let room = WIDTH as usize * step / clients.max(1) / CHARACTER;
    let all_fit = names.iter().all(|name| name.chars().count() <= room);
    for client in (0..clients).step_by(step) {
        let (left, right) = columns.edges(client / columns.clients);
        let label = if all_fit { drawable(&names[client]) } else { client.to_string() };
        write(area, &label, ((left + right) / 2, bottom + 14), 14, HPos::Center)?;
    }
    let axis = match columns.clients {
        1 => "client".to_owned(),
        several => format!("client (a column is the mean of {several})"),
    };
    write(area, &axis, (LEFT + WIDTH / 2, bottom + 38), 16, HPos::Center)
}

/// Returns the number of clients from one label of the axis to the next: 1, 2 or 5 times a power of ten, at most 20
/// labels.
fn label_step(clients: usize) -> usize {
    let powers = (0..).map(|power| 10_usize.pow(power));
    let mut steps = powers.flat_map(|power| [power, 2 * power, 5 * power]);
    steps.find(|step| clients.div_ceil(*step) <= 20).unwrap_or(clients)
}

/// Returns the greatest value, at least 1.
fn greatest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(1.0, |most, value| if value > most { value } else { most })
}

/// Returns the colour of a count. One example differs visibly from none.
fn colour_of(count: f64, most: f64) -> RGBColor {
    if count == 0.0 {
        return NONE;
    }
    let channel = |index: usize| (FEW[index] + (MOST[index] - FEW[index]) * count / most) as u8;
    RGBColor(channel(0), channel(1), channel(2))
}

/// Returns the start of a name that is too long for its place.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 16;
    if name.chars().count() <= LONGEST {
        name.to_owned()
    } else {
        name.chars().take(LONGEST - 2).chain("..".chars()).collect()
    }
}

fn style(height: i32, horizontal: HPos) -> TextStyle<'static> {
    ("sans-serif", height).into_text_style(&(0, 0)).pos(Pos::new(horizontal, VPos::Center))
}

fn write(area: &Area<'_>, text: &str, place: (i32, i32), height: i32, horizontal: HPos) -> Drawn {
    Ok(area.draw(&Text::new(text.to_owned(), place, style(height, horizontal)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(clients: usize, classes: usize) -> PartitionTable {
        let count = |client: usize, class: usize| {
            (1 + client % 7 * 20 + class * 3) as u64 * u64::from(!(client + class).is_multiple_of(3))
        };
        let counts: Vec<Vec<u64>> = (0..clients).map(|k| (0..classes).map(|class| count(k, class)).collect()).collect();
        let sizes = counts.iter().map(|counts| counts.iter().sum::<u64>().max(1)).collect();
        let classes = (0..classes).map(|class| format!("class-{class}")).collect();
        let clients = (0..clients).map(|client| client.to_string()).collect();
        PartitionTable { dataset: "d".into(), clients, classes, sizes, counts }
    }

    #[test]
    fn any_number_of_clients_and_classes_is_drawn() {
        for (clients, classes) in [(1, 1), (4, 10), (100, 2), (1000, 10), (3500, 62), (4, 0), (10, 1000)] {
            let picture = partitions(&table(clients, classes), "title").unwrap();
            assert!(picture.starts_with(b"\x89PNG"), "{clients} clients, {classes} classes");
        }
    }

    #[test]
    fn a_thousand_clients_have_a_column_each_and_more_share_one() {
        let widths = |clients| {
            let columns = Columns::of(&table(clients, 2));
            (columns.clients, columns.sizes.len(), columns.edges(0), columns.edges(columns.sizes.len() - 1).1)
        };
        assert_eq!(widths(1000), (1, 1000, (LEFT, LEFT + 1), LEFT + WIDTH));
        assert_eq!(widths(4), (1, 4, (LEFT, LEFT + 250), LEFT + WIDTH));
        assert_eq!(widths(2500), (3, 834, (LEFT, LEFT + 1), LEFT + WIDTH));
    }

    #[test]
    fn labels_of_the_axis_have_room() {
        assert_eq!([4, 20, 21, 100, 1000, 3500].map(label_step), [1, 1, 2, 5, 50, 200]);
    }

    #[test]
    fn one_example_is_not_white_and_more_are_darker() {
        let [none, one, half, most] = [0.0, 1.0, 500.0, 1000.0].map(|count| colour_of(count, 1000.0));
        assert_eq!(none, NONE);
        assert!(one.0 < 230 && half.0 < one.0 && most.0 < half.0, "{one:?} {half:?} {most:?}");
    }
}
