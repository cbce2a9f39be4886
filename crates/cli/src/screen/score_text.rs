//! The sentences and tables about the scores of clients, of classes and of a target, as pure functions of records.

use fedpipe_data::counted;
use fedpipe_record::{
    by_class::ByClass,
    client_scores::{ClientScores, Distribution},
    finite::Finite,
    number_text::{rounded, significant},
    summary::Summary,
    target::TargetTime,
};

/// The most classes of a table on the screen; `summary.json` has all.
const MOST_CLASSES: usize = 20;

/// The most characters of the name of a class in a table.
const LONGEST_NAME: usize = 16;

/// Returns the line about held-out examples; `None` if nothing is held out.
pub(crate) fn held_out_line(sizes: &[u64], held_out: &[u64]) -> Option<String> {
    let pairs = || sizes.iter().zip(held_out);
    let of_training: u64 = pairs().filter(|(size, _)| **size > 0).map(|(_, held)| held).sum();
    let new: Vec<u64> = pairs().filter(|(size, held)| **size == 0 && **held > 0).map(|(_, held)| *held).collect();
    let examples = (of_training > 0).then(|| format!("{} held out", counted(of_training, "training example")));
    let clients = (!new.is_empty()).then(|| {
        let held = counted(new.iter().sum::<u64>(), "example");
        format!("{} with {held} never trained", counted(new.len(), "client"))
    });
    let parts: Vec<String> = examples.into_iter().chain(clients).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Returns the lines about the scores of a run besides those on the test set.
pub(crate) fn score_lines(summary: &Summary) -> Vec<String> {
    let by_class = summary.by_class.iter().flat_map(|scores| class_lines(scores, &summary.class_names));
    let Summary { held_out, personal, new_clients, .. } = summary;
    let clients = [("held out", held_out), ("personal", personal), ("new clients", new_clients)];
    let clients = clients.into_iter().filter_map(|(name, scores)| Some(client_line(name, scores.as_ref()?)));
    by_class.chain(clients).chain(summary.target.as_ref().map(target_line)).collect()
}

fn client_line(name: &str, scores: &ClientScores) -> String {
    let clients = counted(scores.clients.len(), "client");
    let numbers =
        |Distribution { mean, worst, worst_decile, spread }| [mean, worst, worst_decile, spread].map(Finite::get);
    if let Some(accuracy) = scores.accuracy {
        let [mean, worst, decile, spread] = numbers(accuracy).map(|share| 100.0 * share);
        return format!(
            "{name}: accuracy {mean:.2} %  worst client {worst:.2} %  worst decile {decile:.2} %  spread {spread:.2} \
             points  ({clients})"
        );
    }
    let (score, of) = scores.rmse.map_or(("loss", scores.loss), |rmse| ("RMSE", rmse));
    let [mean, worst, decile, spread] = numbers(of).map(significant);
    format!("{name}: {score} {mean}  worst client {worst}  worst decile {decile}  spread {spread}  ({clients})")
}

fn target_line(time: &TargetTime) -> String {
    let TargetTime { target, on, round, seconds, virtual_seconds } = time;
    match (round, seconds) {
        (Some(round), Some(seconds)) => {
            let time = virtual_seconds.map(|end| format!(", virtual {} s", rounded(end.get(), 2))).unwrap_or_default();
            let seconds = rounded(seconds.get(), 2);
            format!("{target} on {on}: reached in round {round}, after {seconds} s of rounds{time}")
        }
        _ => format!("{target} on {on}: not reached"),
    }
}

/// Returns the table of the scores by class, a line each, and the line about all classes. A class without a name among
/// `names` has its number.
pub(crate) fn class_lines(scores: &ByClass, names: &[String]) -> Vec<String> {
    let ByClass { confusion, precision, recall, f1, macro_f1, auc } = scores;
    let auc = auc.map_or_else(String::new, |auc| format!("  AUC {:.4}", auc.get()));
    let all = format!("macro-F1 {:.4}{auc}", macro_f1.get());
    if confusion.len() > MOST_CLASSES {
        return vec![format!("{all}  ({}; summary.json has each)", counted(confusion.len(), "class"))];
    }
    let shown: Vec<String> = (0..confusion.len())
        .map(|class| names.get(class).map_or_else(|| class.to_string(), |name| shortened(name)))
        .collect();
    let width = shown.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("class".len());
    let row = |class: usize| {
        let examples: u64 = confusion[class].iter().sum();
        let [precision, recall, f1] = [precision, recall, f1].map(|of| of[class].get());
        let most =
            most_confused(&confusion[class], class).map_or_else(String::new, |other| format!("  {:>4}", shown[other]));
        let class = &shown[class];
        format!("{class:>width$}  {examples:>8}  {precision:>9.4}  {recall:>6.4}  {f1:>6.4}{most}")
    };
    let head = format!("{:>width$}  examples  precision  recall      F1  most often taken for", "class");
    [head].into_iter().chain((0..confusion.len()).map(row)).chain([all]).collect()
}

/// Returns a name, with `…` in the place of its end if it is long.
fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST_NAME {
        return name.to_owned();
    }
    name.chars().take(LONGEST_NAME - 1).chain(['…']).collect()
}

/// Returns the class for which most examples of a class were taken; `None` if all were recognised.
fn most_confused(row: &[u64], class: usize) -> Option<usize> {
    let others = row.iter().enumerate().filter(|(other, count)| *other != class && **count > 0);
    // Of equal counts the lowest class.
    others.rev().max_by_key(|(_, count)| **count).map(|(other, _)| other)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fedpipe_record::{client_scores::ClientScore, round_line::Round, target::MeasuredOn};

    use super::*;

    #[test]
    fn the_line_on_held_out_examples_tells_both_kinds_apart() {
        for (sizes, held_out, expected) in [
            (&[4, 4][..], &[][..], None),
            (&[4, 4], &[1, 2], Some("3 training examples held out")),
            (&[4, 0], &[1, 5], Some("1 training example held out, 1 client with 5 examples never trained")),
            (&[4, 0], &[0, 5], Some("1 client with 5 examples never trained")),
        ] {
            assert_eq!(held_out_line(sizes, held_out).as_deref(), expected);
        }
    }

    #[test]
    fn the_scores_of_clients_are_one_line() {
        let score =
            |client, correct| ClientScore { client, examples: 4, correct: Some(correct), errors: None, loss_sum: 1.0 };
        let scores = ClientScores::new(&[score(0, 4), score(1, 2)]).unwrap().unwrap();
        assert_eq!(
            client_line("held out", &scores),
            "held out: accuracy 75.00 %  worst client 50.00 %  worst decile 50.00 %  spread 25.00 points  (2 clients)"
        );
    }

    #[test]
    fn the_scores_of_a_real_target_are_errors() {
        let score = |client, squared_error| {
            let sums = ["squared_error", "absolute_error", "target_sum", "target_square_sum"];
            let sums: BTreeMap<_, _> = sums.into_iter().zip([squared_error, 1.0, 1.0, 1.0]).collect();
            let errors = serde_json::from_value(serde_json::json!(sums)).unwrap();
            ClientScore { client, examples: 4, correct: None, errors, loss_sum: squared_error }
        };
        let scores = ClientScores::new(&[score(0, 4.0), score(1, 196.0)]).unwrap().unwrap();
        assert_eq!(
            client_line("held out", &scores),
            "held out: RMSE 5.0000  worst client 7.0000  worst decile 7.0000  spread 3.0000  (2 clients)"
        );
    }

    #[test]
    fn a_target_is_reached_or_not() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let round = |number, accuracy| Round {
            accuracy: Some(finite(accuracy)),
            seconds: finite(0.25),
            ..Round::blank(number)
        };
        let line = |target: &str| {
            let rounds = [round(1, 0.5), round(2, 0.75)];
            target_line(
                &target.parse::<fedpipe_record::target::TargetScore>().unwrap().time(MeasuredOn::TestSet, &rounds),
            )
        };
        assert_eq!(line("accuracy=0.75"), "accuracy=0.75 on the test set: reached in round 2, after 0.50 s of rounds");
        assert_eq!(line("accuracy=0.8,stop=false"), "accuracy=0.8,stop=false on the test set: not reached");
    }

    #[test]
    fn classes_have_their_names_in_the_table() {
        let scores = ByClass::new(&[8, 0, 2, 0, 10, 0, 5, 5, 0], 3, None);
        let names = ["cat", "a dog of a rare breed", "emu"].map(str::to_owned);
        let lines = class_lines(&scores, &names);
        assert_eq!(lines[1], "             cat        10     0.6154  0.8000  0.6957   emu");
        assert!(lines[2].starts_with("a dog of a rare…        10"), "{}", lines[2]);
        assert_eq!(lines[0].find("examples"), Some(LONGEST_NAME + 2));
    }

    #[test]
    fn the_table_of_classes_fits_a_narrow_terminal() {
        let scores = ByClass::new(&[8, 0, 2, 0, 10, 0, 5, 5, 0], 3, None);
        let lines = class_lines(&scores, &[]);
        assert_eq!(
            lines,
            [
                "class  examples  precision  recall      F1  most often taken for",
                "    0        10     0.6154  0.8000  0.6957     2",
                "    1        10     0.6667  1.0000  0.8000",
                "    2        10     0.0000  0.0000  0.0000     0",
                "macro-F1 0.4986",
            ]
        );
        assert!(lines.iter().all(|line| line.len() <= 72));
        let many = ByClass::new(&[1; 21 * 21], 21, None);
        assert_eq!(class_lines(&many, &[]).len(), 1);
        let two = ByClass::new(&[1, 0, 0, 1], 2, Some([vec![0.0], vec![1.0]]));
        assert_eq!(class_lines(&two, &[]).last().unwrap(), "macro-F1 1.0000  AUC 1.0000");
    }
}
