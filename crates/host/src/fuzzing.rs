//! The reading side of the host, for the fuzz target alone: pipe, framing, order of messages and the checks of each
//! answer. There is no process.

use std::{
    fs::File,
    io::Write,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use fedpipe_protocol::{Evaluate, Isolation, Layout, Level, Parts, Reply, Request, Setup, Spare, Train, WEIGHTS};
use fedpipe_record::cause::Cause;

use crate::{
    fleet::job::Job,
    process::{
        conversation::{Assignment, Checked, NO_REQUEST, ProcessReport, ReplyCheck, converse},
        end::ConversationEnd,
        scripted,
    },
    run::answers::{self, Expected},
};

/// Weights of the model, test examples, and examples of the client.
const WEIGHT_COUNT: usize = 10;
const TEST_EXAMPLES: u64 = 700;
const HELD: u64 = 9;
const REMEDY: &str = "lower --lr";

/// Lets a host receive `bytes` from a client that the host asks for a description, weights, an update and a score.
/// Returns the number of accepted answers, and the cause if the client broke the protocol.
///
/// # Panics
/// Panics if the host accepts an answer that it must refuse.
pub fn receive(bytes: &[u8]) -> (usize, Option<String>) {
    let (from, client) = std::io::pipe().expect("a pipe");
    // More than a pipe holds would wait for a reader.
    File::from(std::os::fd::OwnedFd::from(client)).write_all(&bytes[..bytes.len().min(60_000)]).expect("room");
    let to = File::options().write(true).open("/dev/null").expect("/dev/null");
    let mut peer = scripted::peer(to, File::from(std::os::fd::OwnedFd::from(from)));
    let (sender, assignments) = mpsc::channel();
    for job in jobs() {
        let request = job.request.clone();
        let reply_payload = request.reply_vectors() * 4 * WEIGHT_COUNT as u64;
        let check = ReplyCheck::new(move |reply, parts| look_at(&job, reply, parts));
        let assignment = Assignment { request, weights: None, parts: Vec::new(), reply_payload, check, cores: None };
        sender.send(assignment).expect("there is a receiver");
    }
    drop(sender);
    let taken = AtomicUsize::new(0);
    let report = |report| {
        let fit = match report {
            ProcessReport::ReplyBegun => return true,
            ProcessReport::Replied(_, _, checked) => checked,
            ProcessReport::Exited(_) => return false,
        };
        taken.fetch_add(usize::from(fit.is_ok()), Ordering::Relaxed);
        fit.is_ok()
    };
    let Err(end) = converse(&mut peer, None, &assignments, &Spare::default(), &report);
    let why = match end {
        ConversationEnd::Unfit(cause) => Some(cause.to_string()),
        ConversationEnd::Failed(error) => Some(error.to_string()),
        ConversationEnd::Dismissed => None,
    };
    (taken.into_inner(), why)
}

fn jobs() -> Vec<Job> {
    let isolation = Isolation { level: Level::Off, memory_limit: None, cpu_seconds: None };
    let setup = Setup::describe(None, isolation);
    let requests = [
        Request::Setup(setup),
        Request::GetWeights,
        Request::Train(Train::plain(3, 2)),
        Request::Evaluate(Evaluate::test(vec![0, 1])),
    ];
    let job = |request| Job { slot: 3, client: Some(3), request, weights: None, parts: Vec::new() };
    requests.map(job).into()
}

/// Checks an answer as the fleet and the round do. An answer that is taken must be fit to be summed and shown.
fn look_at(job: &Job, reply: &Reply, parts: &mut Parts) -> Checked {
    match job.request {
        // Of a launcher nothing is asked here.
        Request::Launch(_) => Ok(()),
        Request::Setup(_) => match reply {
            Reply::Ready(ready) => {
                let _ = Layout::new(ready.layout.clone()).map(|layout| layout.ranges().count());
                Ok(())
            }
            _ => Err(Cause::protocol(NO_REQUEST)),
        },
        Request::GetWeights => answers::weights(parts, WEIGHT_COUNT, REMEDY),
        Request::Train(_) => {
            let expected =
                Expected { weights: WEIGHT_COUNT, sizes: &[HELD; 4], local: &[], accumulation: None, remedy: REMEDY };
            answers::update(job, reply, parts, &expected)?;
            let weights = parts.take_f32(WEIGHTS).unwrap_or_default();
            assert!(weights.len() == WEIGHT_COUNT && weights.iter().all(|w| w.is_finite()), "{weights:?}");
            Ok(())
        }
        Request::Evaluate(_) => {
            answers::blocks(job, reply, parts, TEST_EXAMPLES, REMEDY)?;
            let Reply::Evaluated { blocks } = reply else { panic!("{reply:?} was taken for sums") };
            assert_eq!(blocks.iter().map(|sums| sums.examples).sum::<u64>(), TEST_EXAMPLES);
            assert!(blocks.iter().all(|sums| sums.loss_sum.is_finite() && sums.correct <= sums.examples));
            Ok(())
        }
    }
}
