//! The crashes of clients as text. Equal crashes of a round share one text: the first in full, the others as a count.

use std::{collections::BTreeSet, fmt};

use fedpipe_record::{
    cause::Cause,
    crash::{ClientCrash, Consequence, Crash, StrategyCrash},
};

/// The crashes of a run, with those of this round that are not shown yet.
#[derive(Debug, Default)]
pub(crate) struct CrashTexts {
    /// The causes that were shown in full, each with the last lines of the log.
    known: BTreeSet<String>,
    /// The crashes of this round, by cause and consequence, in the order of the first of each.
    groups: Vec<Group>,
}

/// The crashes of one round that have the same cause and the same consequence.
#[derive(Debug)]
struct Group {
    round: Option<u64>,
    cause: String,
    /// `true` if updates were refused, which is no crash.
    is_refusal: bool,
    then: Consequence,
    first: Crashed,
    /// The clients, or processes, that crashed after the first.
    others: BTreeSet<Crashed>,
}

/// The client whose work ended with the crash, or the process if it had no work of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Crashed {
    Client(u32),
    Process(u32),
}

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Crashed::Client(client) => write!(f, "client {client}"),
            Crashed::Process(process) => write!(f, "client process {process}"),
        }
    }
}

impl CrashTexts {
    /// Adds a crash and returns its text; `None` if the crash equals an earlier one of its round and is only counted.
    pub(crate) fn add(&mut self, crash: &ClientCrash) -> Option<String> {
        let ClientCrash { round, client, process, crash: Crash { cause, then, last_words, .. } } = crash;
        let is_refusal = is_refusal(cause);
        let cause = format!("{cause}\n{}", last_words.join("\n"));
        let crashed = client.map_or(Crashed::Process(*process), Crashed::Client);
        let has_this_cause = |group: &&mut Group| group.round == *round && group.cause == cause;
        let mut shown = None;
        for group in self.groups.iter_mut().filter(has_this_cause) {
            if group.then == *then {
                group.others.insert(crashed);
                return None;
            }
            shown = shown.or(Some(group.first));
        }
        let mut text = format!("{}: {}", severity(*then), subject(crash, crashed, shown));
        if self.known.insert(cause.clone()) {
            text += &output(&crash.crash);
        }
        text += &format!("\n  {}", consequence(*then));
        let others = BTreeSet::new();
        self.groups.push(Group { round: *round, cause, is_refusal, then: *then, first: crashed, others });
        Some(text)
    }

    /// Ends the round and returns the texts about the crashes that were only counted.
    pub(crate) fn end_round(&mut self) -> Vec<String> {
        let groups = std::mem::take(&mut self.groups);
        groups.iter().filter(|group| !group.others.is_empty()).map(Group::text).collect()
    }
}

/// Returns the sentence about a crash; `shown` is the first that crashed with the same cause in this round.
fn subject(crash: &ClientCrash, crashed: Crashed, shown: Option<Crashed>) -> String {
    let (Some(first), Some(round)) = (shown, crash.round) else { return crash.to_string() };
    let fact = if is_refusal(&crash.crash.cause) {
        format!("{crashed}'s update of round {round} was refused")
    } else {
        format!("{crashed} crashed in round {round}")
    };
    if first == crashed { format!("{fact}: the same cause") } else { format!("{fact}: the same cause as {first}") }
}

fn is_refusal(cause: &Cause) -> bool {
    matches!(cause, Cause::Rejected { .. })
}

/// Returns the text about a crash of a strategy that is a program.
pub(crate) fn strategy_crash(crash: &StrategyCrash) -> String {
    let StrategyCrash { crash: shared, .. } = crash;
    format!("{}: {crash}{}\n  {}", severity(shared.then), output(shared), consequence(shared.then))
}

/// Returns the last lines of a process and the path of its log.
fn output(Crash { last_words, log, .. }: &Crash) -> String {
    let lines: String = last_words.iter().map(|line| format!("\n  | {line}")).collect();
    lines + &log.as_ref().map_or(String::new(), |log| format!("\n  its log: {}", log.display()))
}

impl Group {
    fn text(&self) -> String {
        const NAMED: usize = 8;
        let Self { is_refusal, then, first, others, .. } = self;
        let mut named = others.iter().take(NAMED).map(Crashed::to_string).collect::<Vec<_>>().join(", ");
        if others.len() > NAMED {
            named += &format!(" and {} more", others.len() - NAMED);
        }
        let fact = if *is_refusal {
            format!("the updates of {named} were refused as that of {first} was")
        } else {
            format!("{named} crashed as {first} did")
        };
        format!("{}: {fact}\n  {}", severity(*then), consequence(*then))
    }
}

fn severity(then: Consequence) -> &'static str {
    match then {
        Consequence::Dropped | Consequence::Unscored | Consequence::Aborted | Consequence::Reverted => "error",
        Consequence::Retried | Consequence::Moved | Consequence::Replaced => "warning",
    }
}

fn consequence(then: Consequence) -> &'static str {
    match then {
        Consequence::Retried => "a fresh process does its work again",
        Consequence::Moved => "another process does its work",
        Consequence::Dropped => "the round continues without it",
        Consequence::Unscored => "its held-out examples have no score in this round",
        Consequence::Replaced => "it had no work; a fresh process takes its place",
        Consequence::Aborted => "the run ends (--on-failure abort)",
        Consequence::Reverted => "the round begins again with the model from before the reload",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(client: u32, round: u64, code: i32, then: Consequence) -> ClientCrash {
        let (last_words, log) = (vec!["NameError: rat".to_owned()], Some(format!("clients/{client:03}.log").into()));
        let after_seconds = std::time::Duration::from_millis(500).into();
        let crash = Crash { cause: Cause::Exit { code }, after_seconds, then, last_words, log };
        ClientCrash { round: Some(round), client: Some(client), process: client, crash }
    }

    #[test]
    fn equal_crashes_are_shown_once() {
        let mut crashes = CrashTexts::default();
        let first = crashes.add(&crash(2, 1, 1, Consequence::Retried)).unwrap();
        assert_eq!(
            first,
            "warning: client 2 crashed in round 1 after 0.50 s: it exited with code 1\n  | NameError: rat\n  its log: \
             clients/002.log\n  a fresh process does its work again"
        );
        assert_eq!(crashes.add(&crash(3, 1, 1, Consequence::Retried)), None);
        assert_eq!(crashes.add(&crash(0, 1, 1, Consequence::Retried)), None);
        // Another consequence is shown, without the same last lines.
        assert_eq!(
            crashes.add(&crash(2, 1, 1, Consequence::Dropped)).unwrap(),
            "error: client 2 crashed in round 1: the same cause\n  the round continues without it"
        );
        assert_eq!(crashes.add(&crash(0, 1, 1, Consequence::Dropped)), None);
        // Another cause is shown in full.
        assert!(crashes.add(&crash(1, 1, 7, Consequence::Dropped)).unwrap().contains("| NameError"));
        assert_eq!(
            crashes.end_round(),
            [
                "warning: client 0, client 3 crashed as client 2 did\n  a fresh process does its work again",
                "error: client 0 crashed as client 2 did\n  the round continues without it"
            ]
        );
        // In a later round, a known cause takes one line, and its consequence another.
        let later = crashes.add(&crash(0, 2, 1, Consequence::Retried)).unwrap();
        assert_eq!(later.lines().count(), 2, "{later}");
        assert!(crashes.end_round().is_empty());
    }

    #[test]
    fn another_client_with_the_same_cause_is_named_beside_the_first() {
        let mut crashes = CrashTexts::default();
        crashes.add(&crash(2, 1, 1, Consequence::Retried));
        let dropped = crashes.add(&crash(0, 1, 1, Consequence::Dropped)).unwrap();
        assert!(dropped.starts_with("error: client 0 crashed in round 1: the same cause as client 2\n"), "{dropped}");
    }

    #[test]
    fn a_refused_update_is_not_called_a_crash() {
        let refused = |client, then| {
            let mut crash = crash(client, 1, 1, then);
            crash.crash.cause = Cause::rejected("weight 1 is NaN");
            crash
        };
        let mut crashes = CrashTexts::default();
        let first = crashes.add(&refused(2, Consequence::Retried)).unwrap();
        assert!(first.starts_with("warning: client 2's update of round 1 was refused: weight 1 is NaN\n"), "{first}");
        assert_eq!(crashes.add(&refused(3, Consequence::Retried)), None);
        let again = crashes.add(&refused(2, Consequence::Dropped)).unwrap();
        assert!(again.starts_with("error: client 2's update of round 1 was refused: the same cause\n"), "{again}");
        let rest = "warning: the updates of client 3 were refused as that of client 2 was\n  a fresh process does its work again";
        assert_eq!(crashes.end_round(), [rest]);
    }

    #[test]
    fn a_thousand_equal_crashes_are_two_texts() {
        let mut crashes = CrashTexts::default();
        let shown =
            (0..1000).filter(|&client| crashes.add(&crash(client, 1, 1, Consequence::Dropped)).is_some()).count();
        let rest = crashes.end_round();
        assert_eq!((shown, rest.len()), (1, 1));
        assert!(rest[0].contains("client 8 and 991 more crashed as client 0 did"), "{}", rest[0]);
    }
}
