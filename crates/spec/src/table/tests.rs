//! Tests of reading, showing and refusing a row.

use super::*;
use crate::pinned_file::SHA256;

#[derive(Debug)]
struct Colour {
    red: f64,
    is_bright: bool,
}

const RED: Parameter =
    Parameter { key: "red", default: Some(Value::Number(0.5)), range: Range::Decay, help: "the share of red" };
const BRIGHT: Parameter =
    Parameter { key: "bright", default: Some(Value::Flag(false)), range: Range::Flag, help: "brighter" };
const WIDTH: Parameter = Parameter { key: "width", default: None, range: Range::Count, help: "the width" };
const GRAIN: Parameter = Parameter {
    key: "grain",
    default: Some(Value::Text(Cow::Borrowed("fine"))),
    range: Range::Word { of: &["fine", "coarse"], wants: "fine or coarse" },
    help: "the grain",
};
const FILE: Parameter =
    Parameter { key: "file", default: None, range: Range::Text("the path of a picture"), help: "the picture" };
const SPREAD: Parameter =
    Parameter { key: "spread", default: Some(Value::Number(0.0)), range: Range::NotNegative, help: "the spread" };
const COVER: Parameter =
    Parameter { key: "cover", default: Some(Value::Number(1.0)), range: Range::Share, help: "the cover" };
const DEPTH: Parameter = Parameter {
    key: "depth",
    default: Some(Value::Text(Cow::Borrowed("width"))),
    range: Range::NumberOr {
        number: &Range::Count,
        word: "width",
        wants: "a whole number from 1, or width for that of the width",
    },
    help: "the depth",
};

fn build(values: &Values) -> Arc<Colour> {
    Arc::new(Colour { red: values.number("red"), is_bright: values.flag("bright") })
}

fn striped(values: &Values) -> Arc<Colour> {
    Arc::new(Colour { red: values.count("width").into(), is_bright: values.number_or_word("depth") == Some(2.0) })
}

fn painted(values: &Values) -> Arc<Colour> {
    Arc::new(Colour { red: values.text("file").len() as f64, is_bright: values.text("grain") == "coarse" })
}

static ROWS: [TableRow<Colour>; 3] = [
    TableRow { name: "plain", summary: "one colour", parameters: &[RED, BRIGHT], source: "a painter", build },
    TableRow {
        name: "striped",
        summary: "two",
        parameters: &[WIDTH, COVER, DEPTH],
        source: "a painter",
        build: striped,
    },
    TableRow {
        name: "painted",
        summary: "as a picture",
        parameters: &[FILE, GRAIN, SPREAD, SHA256],
        source: "a painter",
        build: painted,
    },
];

impl Tabled for Colour {
    const WHAT: &'static str = "colour";
    const LIST: &'static str = "colours";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

#[test]
fn a_row_is_read_with_its_defaults_and_shown_with_all_values() {
    let plain: Named<Colour> = "plain:bright=true".parse().unwrap();
    assert_eq!((plain.red, plain.is_bright), (0.5, true));
    assert_eq!(plain.to_string(), "plain:red=0.5,bright=true");
    assert_eq!(plain.to_string().parse::<Named<Colour>>().unwrap(), plain);
    assert_eq!(plain.changed().collect::<Vec<_>>(), [("bright", Value::Flag(true))]);
    assert_eq!(Named::<Colour>::default(), "plain:red=0.5".parse().unwrap());
    assert_eq!("striped:3".parse::<Named<Colour>>().unwrap().red, 3.0);
    assert_eq!(
        ROWS.each_ref().map(TableRow::example),
        [
            "plain:red=0.5,bright=false",
            "striped:width=…,cover=1,depth=width",
            "painted:file=…,grain=fine,spread=0,sha256="
        ]
    );
}

#[test]
fn a_word_and_a_text_are_values() {
    let painted: Named<Colour> = "painted:a.png".parse().unwrap();
    assert_eq!((painted.red, painted.is_bright), (5.0, false));
    let coarse: Named<Colour> = "painted:grain=coarse,file=x=y".parse().unwrap();
    assert_eq!((coarse.red, coarse.is_bright), (3.0, true));
    assert_eq!(coarse.to_string(), "painted:file=x=y,grain=coarse,spread=0,sha256=");
    let hash = "0A".repeat(32);
    let pinned: Named<Colour> = format!("painted:file=a,sha256={hash}").parse().unwrap();
    assert!(pinned.to_string().ends_with(&format!(",sha256={}", hash.to_lowercase())), "{pinned}");
}

#[test]
fn a_great_value_is_short_and_is_read_as_the_same() {
    let wide: Named<Colour> = "painted:file=a,spread=1e38".parse().unwrap();
    assert_eq!(wide.to_string(), "painted:file=a,grain=fine,spread=1e38,sha256=");
    assert_eq!(wide.to_string().parse::<Named<Colour>>().unwrap(), wide);
}

#[test]
fn a_number_may_have_a_word_in_its_place() {
    let [two, of_width] = ["striped:width=3,depth=2", "striped:width=3,depth=width"].map(|text| {
        let striped: Named<Colour> = text.parse().unwrap();
        assert_eq!(striped.to_string().parse::<Named<Colour>>().unwrap(), striped);
        (striped.is_bright, striped.to_string())
    });
    assert_eq!(two, (true, "striped:width=3,cover=1,depth=2".into()));
    assert_eq!(of_width, (false, "striped:width=3,cover=1,depth=width".into()));
}

#[test]
fn a_refusal_names_the_value_and_the_remedy() {
    let cases = [
        ("blue", "the colour `blue` is unknown; known are plain, striped, painted"),
        ("plian:0.1", "the colour `plian` is unknown; did you mean plain? known are plain, striped, painted"),
        ("painted:file=a,grain=rough", "has `grain=rough`, which is not fine or coarse; correct the value"),
        ("painted", "needs the key `file`, the path of a picture"),
        ("plain:red=1", "the colour plain has red=1; give a number of at least 0 and below 1"),
        ("plain:red=nan", "red=nan; give a number of at least 0 and below 1"),
        ("plain:red=x", "`red=x`, which is not a number of at least 0 and below 1"),
        ("plain:bright=1", "`bright=1`, which is not true or false"),
        ("plain:green=1", "unknown key `green`; known are red, bright"),
        ("plain:0.3", "without a key"),
        ("striped", "needs the key `width`, a whole number from 1"),
        ("striped:1.5", "width=1.5; give a whole number from 1"),
        ("striped:0", "width=0; give a whole number from 1"),
        ("striped:width=1,cover=0", "cover=0; give a number above 0 and at most 1"),
        ("striped:width=1,depth=0", "depth=0; give a whole number from 1, or width for"),
        ("striped:width=1,depth=wide", "`depth=wide`, which is not a whole number from 1, or width for"),
        ("striped:width=1,cover=1.5", "cover=1.5; give a number above 0 and at most 1"),
        (
            "striped:width=1,cover=1e-60",
            "cover=1e-60; give a number above 0 and at most 1 (apart from 0 at least 1.1754944e-38)",
        ),
        ("striped:1e10", "width=1e10; give a whole number from 1 (at most 4294967295)"),
        (
            "striped:width=1,depth=4294967296",
            "depth=4294967296; give a whole number from 1, or width for that of the width (at most",
        ),
        ("painted:file=a,grain=fine,sha256=0a", "`sha256=0a`, which is not 64 hexadecimal digits; correct the value"),
        ("painted:file=a,spread=1e300", "spread=1e300; give a number of at least 0 (at most 3.4028235e38)"),
        ("painted:file=a,spread=1e400", "spread=1e400; give a number of at least 0 (at most 3.4028235e38)"),
    ];
    for (text, expected) in cases {
        let error = text.parse::<Named<Colour>>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
