//! A test of the table of speed in the README: each share of the peak follows from the seconds beside it.

#[test]
fn the_shares_of_the_peak_follow_from_the_seconds() {
    let readme = include_str!("../README.md");
    let (_, peak) = readme.split_once("FMA peak ").unwrap();
    let peak: f64 = peak.split(' ').next().unwrap().parse().unwrap();
    let rows: Vec<Vec<&str>> =
        readme.lines().filter(|line| line.starts_with("| 784-")).map(|line| line.split(" | ").collect()).collect();
    assert_eq!(rows.len(), 9, "a row for each case of the bench");
    let mut wrong = Vec::new();
    for row in rows {
        let (layers, measured) = (row[0].trim_start_matches("| "), &row[4..]);
        let widths: Vec<f64> = layers.split('-').map(|width| width.parse().unwrap()).collect();
        let products: Vec<f64> = widths.windows(2).map(|pair| pair[0] * pair[1]).collect();
        let gigaflops = 60_000.0 * 2.0 * (3.0 * products.iter().sum::<f64>() - products[0]) / 1e9;
        for [seconds, share] in measured.as_chunks().0 {
            let follows = 100.0 * gigaflops / seconds.parse::<f64>().unwrap() / peak;
            let share = share.trim_end_matches([' ', '|', '%']);
            // A share can be off by one, since the seconds have three digits.
            if (share.parse::<f64>().unwrap() - follows).abs() > 1.0 {
                wrong.push(format!("{}: {share} %, but {follows:.1} % follow from {seconds} s", row.join(" | ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
