//! The tutorial, followed as it is printed.

use std::{fs, os::unix::fs::symlink};

use crate::{
    common::{Place, repository},
    markdown::read,
    model_crates::{shell, succeed},
};

/// Runs the commands of the tutorial in order, and compares each output with the one that is printed below, and each
/// picture with the one that is shown.
#[test]
fn the_tutorial_works_as_printed() {
    let (place, text) = (Place::new(), read("crates/cli/TUTORIAL.md"));
    symlink(repository().canonicalize().unwrap(), place.path("fedpipe")).unwrap();
    let (mut printed, mut compared) = (String::new(), 0);
    for block in text.split("```").skip(1).step_by(2) {
        match block.split_once('\n').unwrap() {
            ("sh", commands) => printed = succeed(shell(&place, &format!("export HOME=\"$PWD\"\n{commands}"), "")),
            (_, shown) => {
                assert!(is_shown(shown, &printed), "the tutorial has\n{shown}\nand the command printed\n{printed}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 8);
    for picture in ["split.png", "compare.png"] {
        assert!(text.contains(&format!("](tutorial/{picture})")), "{picture} is not in the tutorial");
        let shown = fs::read(repository().join("crates/cli/tutorial").join(picture)).unwrap();
        let drawn = place.path(picture);
        assert!(shown == fs::read(&drawn).unwrap(), "the tutorial's {picture} is not the drawn one; copy that");
    }
}

/// Returns `true` if `printed` is `shown`, in which each `…` stands for any text.
fn is_shown(shown: &str, printed: &str) -> bool {
    let mut pieces: Vec<&str> = shown.split('…').collect();
    let last = pieces.pop().unwrap();
    let [first, between @ ..] = &pieces[..] else { return shown == printed };
    let after = |text: &'_ str, piece: &str| text.find(piece).map(|at| at + piece.len());
    let Some(rest) = printed.strip_prefix(first) else { return false };
    let Some(end) = between.iter().try_fold(0, |at, piece| Some(at + after(&rest[at..], piece)?)) else { return false };
    rest[end..].ends_with(last)
}

#[test]
fn an_ellipsis_stands_for_any_text() {
    for (shown, printed, expected) in [
        ("a\n", "a\n", true),
        ("a\n", "a\nb\n", false),
        ("…\nb 1 …\nc\n", "x\ny\nb 1 s\nc\n", true),
        ("…\nb 2 …\nc\n", "x\ny\nb 1 s\nc\n", false),
        ("a …\nb\n", "a 1\nb\nc\n", false),
        ("a …\n", "b 1\n", false),
    ] {
        assert_eq!(is_shown(shown, printed), expected, "{shown:?} {printed:?}");
    }
}
