//! The crashes of clients as text. Equal crashes are told once: the first in full, the others as a count.

use std::{collections::BTreeSet, fmt, path::Path};

use fedpipe_record::crash::{ClientCrash, Consequence, StrategyCrash};

/// The crashes that were told so far.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// The causes that were told in full, each with the last lines of its log.
    known: BTreeSet<String>,
    /// The crashes of this round, by cause and consequence, in the order of the first of each.
    groups: Vec<Group>,
}

/// The crashes of one round that have the same cause and the same consequence.
#[derive(Debug)]
struct Group {
    round: Option<u64>,
    cause: String,
    then: Consequence,
    first: Who,
    /// The clients, or processes, that crashed after the first.
    others: BTreeSet<Who>,
}

/// The client whose work was lost, or the process where there was no work of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Client(u32),
    Process(u32),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Client(client) => write!(f, "client {client}"),
            Who::Process(process) => write!(f, "client process {process}"),
        }
    }
}

impl Losses {
    /// Returns the text for a crash; none for one that equals an earlier crash of its round, which is counted.
    pub(crate) fn take(&mut self, lost: &ClientCrash) -> Option<String> {
        let cause = format!("{}\n{}", lost.cause, lost.last_words.join("\n"));
        let who = lost.client.map_or(Who::Process(lost.process), Who::Client);
        let has_this_cause = |group: &&mut Group| group.round == lost.round && group.cause == cause;
        let mut told = None;
        for group in self.groups.iter_mut().filter(has_this_cause) {
            if group.then == lost.then {
                group.others.insert(who);
                return None;
            }
            told = told.or(Some(group.first));
        }
        let mut text = format!("{}: ", kind(lost.then));
        if let (Some(first), Some(round)) = (told, lost.round) {
            text += &format!("{who} was lost in round {round}: the same cause");
            if first != who {
                text += &format!(" as {first}");
            }
        } else {
            text += &lost.to_string();
        }
        if self.known.insert(cause.clone()) {
            text += &output(&lost.last_words, lost.log.as_deref());
        }
        text += &format!("\n  {}", consequence(lost.then));
        self.groups.push(Group { round: lost.round, cause, then: lost.then, first: who, others: BTreeSet::new() });
        Some(text)
    }

    /// Returns the text for the crashes that were counted, and begins a round.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        let groups = std::mem::take(&mut self.groups);
        groups.iter().filter(|group| !group.others.is_empty()).map(Group::text).collect()
    }
}

/// Returns the text for a crash of a strategy that is a program.
pub(crate) fn of_strategy(lost: &StrategyCrash) -> String {
    let output = output(&lost.last_words, lost.log.as_deref());
    format!("{}: {lost}{output}\n  {}", kind(lost.then), consequence(lost.then))
}

/// Returns the last lines of a process and the place of its log.
fn output(last_words: &[String], log: Option<&Path>) -> String {
    let lines: String = last_words.iter().map(|line| format!("\n  | {line}")).collect();
    lines + &log.map_or(String::new(), |log| format!("\n  its log: {}", log.display()))
}

impl Group {
    fn text(&self) -> String {
        const NAMED: usize = 8;
        let Self { then, first, others, .. } = self;
        let mut named = others.iter().take(NAMED).map(Who::to_string).collect::<Vec<_>>().join(", ");
        if others.len() > NAMED {
            named += &format!(" and {} more", others.len() - NAMED);
        }
        format!("{}: {named} crashed as {first} did\n  {}", kind(*then), consequence(*then))
    }
}

fn kind(then: Consequence) -> &'static str {
    if matches!(then, Consequence::Dropped | Consequence::Aborted | Consequence::Reverted) {
        "error"
    } else {
        "warning"
    }
}

fn consequence(then: Consequence) -> &'static str {
    match then {
        Consequence::Retried => "a fresh process does its work again",
        Consequence::Moved => "another process does its work",
        Consequence::Dropped => "the round goes on without it",
        Consequence::Replaced => "nothing was lost; a fresh process takes its place",
        Consequence::Aborted => "the run ends (--on-failure abort)",
        Consequence::Reverted => "the round begins again with the model from before the reload",
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_record::cause::Cause;

    use super::*;

    fn lost(client: u32, round: u64, code: i32, then: Consequence) -> ClientCrash {
        let (last_words, log) = (vec!["NameError: rat".to_owned()], Some(format!("clients/{client:03}.log").into()));
        let after_seconds = std::time::Duration::from_millis(500).into();
        let cause = Cause::Exit { code };
        ClientCrash {
            round: Some(round),
            client: Some(client),
            process: client,
            cause,
            after_seconds,
            then,
            last_words,
            log,
        }
    }

    #[test]
    fn equal_crashes_are_told_once() {
        let mut losses = Losses::default();
        let first = losses.take(&lost(2, 1, 1, Consequence::Retried)).unwrap();
        assert_eq!(
            first,
            "warning: client 2 was lost in round 1 after 0.50 s: it exited with code 1\n  | NameError: rat\n  its log: \
             clients/002.log\n  a fresh process does its work again"
        );
        assert_eq!(losses.take(&lost(3, 1, 1, Consequence::Retried)), None);
        assert_eq!(losses.take(&lost(0, 1, 1, Consequence::Retried)), None);
        // Another consequence is news, the last lines are not.
        assert_eq!(
            losses.take(&lost(2, 1, 1, Consequence::Dropped)).unwrap(),
            "error: client 2 was lost in round 1: the same cause\n  the round goes on without it"
        );
        assert_eq!(losses.take(&lost(0, 1, 1, Consequence::Dropped)), None);
        // Another cause is told in full.
        assert!(losses.take(&lost(1, 1, 7, Consequence::Dropped)).unwrap().contains("| NameError"));
        assert_eq!(
            losses.rest(),
            [
                "warning: client 0, client 3 crashed as client 2 did\n  a fresh process does its work again",
                "error: client 0 crashed as client 2 did\n  the round goes on without it"
            ]
        );
        // In a later round a known cause is one line and its consequence.
        let later = losses.take(&lost(0, 2, 1, Consequence::Retried)).unwrap();
        assert_eq!(later.lines().count(), 2, "{later}");
        assert!(losses.rest().is_empty());
    }

    #[test]
    fn another_client_with_the_same_cause_is_named_beside_the_first() {
        let mut losses = Losses::default();
        losses.take(&lost(2, 1, 1, Consequence::Retried));
        let dropped = losses.take(&lost(0, 1, 1, Consequence::Dropped)).unwrap();
        assert!(dropped.starts_with("error: client 0 was lost in round 1: the same cause as client 2\n"), "{dropped}");
    }

    #[test]
    fn a_thousand_clients_are_a_line() {
        let mut losses = Losses::default();
        let told = (0..1000).filter(|&client| losses.take(&lost(client, 1, 1, Consequence::Dropped)).is_some()).count();
        let rest = losses.rest();
        assert_eq!((told, rest.len()), (1, 1));
        assert!(rest[0].contains("client 8 and 991 more crashed as client 0 did"), "{}", rest[0]);
    }
}
