//! The line about the round that is under way: which clients train, the speed, the crashes and the time that is left.

use std::{collections::BTreeMap, time::Duration};

/// The most clients of which each has a character of its own.
const MOST_CLIENTS: usize = 40;

/// The characters of a bar in the place of more clients.
const BAR: usize = 30;

/// The most clients that are named while they train.
const MOST_NAMED: usize = 4;

/// The progress of a client in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waits,
    Trains,
    Done,
    Crashed,
}

/// The round that is under way, and the rounds before it.
#[derive(Debug, Default)]
pub(crate) struct LiveLine {
    name: String,
    clients: BTreeMap<u32, Progress>,
    /// The seconds of the rounds of this session, and their number.
    seconds: f64,
    rounds: u32,
    /// The rounds that are left after this one; none if the run ends by its results.
    left: Option<u64>,
    crashes: u64,
}

impl LiveLine {
    /// Begins a round with these clients; `left` is the number of rounds after it.
    pub(crate) fn begin(&mut self, name: String, clients: impl Iterator<Item = u32>, left: Option<u64>) {
        self.name = name;
        self.clients = clients.map(|client| (client, Progress::Waits)).collect();
        self.left = left;
    }

    /// Notes that a client trains.
    pub(crate) fn trains(&mut self, client: u32) {
        self.clients.insert(client, Progress::Trains);
    }

    /// Notes that the update of a client was accepted.
    pub(crate) fn trained(&mut self, client: u32) {
        self.clients.insert(client, Progress::Done);
    }

    /// Notes a crash, of a client if one was at work.
    pub(crate) fn crashed(&mut self, client: Option<u32>) {
        self.crashes += 1;
        if let Some(progress) = client.and_then(|client| self.clients.get_mut(&client)) {
            *progress = Progress::Crashed;
        }
    }

    /// Notes the seconds of a round that is over.
    pub(crate) fn ended(&mut self, seconds: f64) {
        self.seconds += seconds;
        self.rounds += 1;
        self.clients.clear();
    }

    /// Returns the line; the most important comes first, since a narrow terminal cuts its end off.
    pub(crate) fn text(&self) -> String {
        let count = |wanted| self.clients.values().filter(|progress| **progress == wanted).count();
        let (done, all) = (count(Progress::Done), self.clients.len());
        let mut parts = vec![match all {
            0 => self.name.clone(),
            _ => format!("{} [{}] {done}/{all} trained", self.name, self.strip()),
        }];
        parts.extend(self.time_left().map(|left| format!("ETA {left}")));
        parts.extend(match self.crashes {
            0 => None,
            1 => Some("1 crash".to_owned()),
            many => Some(format!("{many} crashes")),
        });
        parts.extend((self.rounds > 0).then(|| format!("{:.2} s/round", self.seconds / f64::from(self.rounds))));
        let at_work: Vec<String> = self.at_work().take(MOST_NAMED).map(|client| client.to_string()).collect();
        if !at_work.is_empty() {
            let more = count(Progress::Trains) - at_work.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("training {}{more}", at_work.join(", ")));
        }
        parts.join("  ")
    }

    fn at_work(&self) -> impl Iterator<Item = u32> {
        self.clients.iter().filter(|(_, progress)| **progress == Progress::Trains).map(|(client, _)| *client)
    }

    /// Returns a character for each client, or a bar for many: `#` is done, `>` trains, `x` crashed, `.` waits.
    fn strip(&self) -> String {
        let of = |progress: Progress| match progress {
            Progress::Done => '#',
            Progress::Trains => '>',
            Progress::Crashed => 'x',
            Progress::Waits => '.',
        };
        if self.clients.len() <= MOST_CLIENTS {
            return self.clients.values().map(|progress| of(*progress)).collect();
        }
        let mut sorted: Vec<Progress> = self.clients.values().copied().collect();
        let order = [Progress::Done, Progress::Crashed, Progress::Trains, Progress::Waits];
        sorted.sort_by_key(|progress| order.iter().position(|other| other == progress));
        (0..BAR).map(|place| of(sorted[place * sorted.len() / BAR])).collect()
    }

    /// Returns the time until the last round is over, such as `1:05`.
    fn time_left(&self) -> Option<String> {
        let rounds = self.left? + 1;
        if self.rounds == 0 {
            return None;
        }
        let left = Duration::from_secs_f64(self.seconds / f64::from(self.rounds) * rounds as f64).as_secs();
        let (hours, minutes, seconds) = (left / 3600, left / 60 % 60, left % 60);
        Some(if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_a_character_and_the_line_says_what_is_known() {
        let mut line = LiveLine::default();
        line.begin("round 1/3".into(), [0, 2, 5, 7].into_iter(), Some(2));
        assert_eq!(line.text(), "round 1/3 [....] 0/4 trained");
        line.trains(0);
        line.trains(2);
        line.trained(0);
        line.crashed(Some(5));
        assert_eq!(line.text(), "round 1/3 [#>x.] 1/4 trained  1 crash  training 2");
        line.ended(2.0);
        line.begin("round 2/3".into(), [0, 2, 5, 7].into_iter(), Some(1));
        line.crashed(None);
        assert_eq!(line.text(), "round 2/3 [....] 0/4 trained  ETA 0:04  2 crashes  2.00 s/round");
        [0, 2, 5, 7, 9].into_iter().for_each(|client| line.trains(client));
        assert!(line.text().ends_with("training 0, 2, 5, 7 and 1 more"), "{}", line.text());
    }

    #[test]
    fn many_clients_share_a_bar_and_a_long_run_has_hours() {
        let mut line = LiveLine::default();
        line.ended(60.0);
        line.begin("round 2".into(), 0..300, Some(119));
        (0..150).for_each(|client| line.trained(client));
        (150..160).for_each(|client| line.trains(client));
        assert!(line.text().starts_with("round 2 [###############>..............] 150/300 trained  ETA 2:00:00"));
        line.begin("round 3".into(), 0..2, None);
        assert!(!line.text().contains("ETA"));
    }
}
