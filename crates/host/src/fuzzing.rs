//! The reading side of the host, for the fuzz target and a test of its seeds: pipe, framing, order of messages and the
//! checks of each answer. There is no process.

use std::{
    fs::File,
    io::Write,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use fedpipe_protocol::{
    Evaluate, Isolation, Layout, Level, MAGIC, PROTOCOL, Parts, Reply, Request, Setup, Spare, Target, Train, WEIGHTS,
    write,
};
use fedpipe_record::cause::Cause;
use fedpipe_strategy::local_optimiser::LocalOptimiser;

use crate::{
    fleet::job::Job,
    process::{
        conversation::{Assignment, Checked, NO_REQUEST, ProcessReport, ReplyCheck, converse},
        end::ConversationEnd,
        scripted,
    },
    run::{
        answers::{self, Expected, steps::Accumulation},
        evaluation_answers::{ExpectedScores, evaluated},
    },
};

/// Weights of the model, classes, test examples, and examples of the client.
const WEIGHT_COUNT: usize = 10;
const CLASSES: usize = 10;
const TEST_EXAMPLES: u64 = 700;
const HELD: u64 = 9;
const REMEDY: &str = "lower --lr";

/// Lets a host [`receive`] an input of the fuzzer. A first byte of 0 or 1 stands for the message `hello`. After a 0,
/// each frame is a header, a 0, the length of its payload in a byte, and the payload.
///
/// # Panics
/// Panics as [`receive`] does.
pub fn receive_input(input: &[u8]) -> (usize, Option<String>) {
    match input.split_first() {
        Some((0, frames)) => receive(&[hello(), framed(frames)].concat()),
        Some((1, after_hello)) => receive(&[&hello(), after_hello].concat()),
        _ => receive(input),
    }
}

fn hello() -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame, &Reply::Hello { protocol: PROTOCOL }, &[]).expect("memory takes everything");
    frame
}

fn framed(mut bytes: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let (header, rest) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
        let length = rest.first().map_or(0, |&length| usize::from(length).min(rest.len() - 1));
        let payload = rest.get(1..1 + length).unwrap_or_default();
        frames.extend(MAGIC);
        frames.extend((header.len() as u32).to_le_bytes());
        frames.extend((length as u64).to_le_bytes());
        frames.extend([header, payload].concat());
        bytes = rest.get(1 + length..).unwrap_or_default();
    }
    frames
}

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
    let (taken, refused) = (AtomicUsize::new(0), OnceLock::new());
    let report = |report| {
        let fit = match report {
            ProcessReport::ReplyBegun => return true,
            ProcessReport::Replied(_, _, checked) => checked,
            ProcessReport::Exited(_) => return false,
        };
        taken.fetch_add(usize::from(fit.is_ok()), Ordering::Relaxed);
        fit.map_err(|cause| refused.set(cause.to_string())).is_ok()
    };
    let Err(end) = converse(&mut peer, None, &assignments, &Spare::default(), &report);
    let why = match end {
        ConversationEnd::Unfit(cause) => Some(cause.to_string()),
        ConversationEnd::Failed(error) => Some(error.to_string()),
        ConversationEnd::Dismissed => refused.into_inner(),
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
    let job = |request| Job { slot: 3, client: Some(3), request, weights: None, parts: Vec::new(), only_scores: false };
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
            let accumulation = Some(&Accumulation::new(LocalOptimiser::default(), true, 1));
            let expected =
                Expected { weights: WEIGHT_COUNT, sizes: &[HELD; 4], local: &[], accumulation, remedy: REMEDY };
            answers::update(job, reply, parts, &expected)?;
            let weights = parts.take_f32(WEIGHTS).unwrap_or_default();
            assert!(weights.len() == WEIGHT_COUNT && weights.iter().all(|w| w.is_finite()), "{weights:?}");
            Ok(())
        }
        Request::Evaluate(_) => {
            let expected = ExpectedScores { examples: TEST_EXAMPLES, target: Target::Classes(CLASSES), remedy: REMEDY };
            evaluated(job, reply, parts, &expected)?;
            let Reply::Evaluated { blocks } = reply else { panic!("{reply:?} was taken for sums") };
            assert_eq!(blocks.iter().map(|sums| sums.examples).sum::<u64>(), TEST_EXAMPLES);
            assert!(blocks.iter().all(|sums| sums.loss_sum.is_finite() && sums.correct <= sums.examples));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each seed with the number of accepted answers, and a part of the cause.
    const SEEDS: &[(&str, usize, &str)] = &[
        ("accumulation", 2, "accumulation"),
        ("bytes", 2, "has no part \"weights\""),
        ("empty", 0, "the pipe ended"),
        ("examples", 2, "10 examples, but holds 9"),
        ("failed", 1, "no"),
        ("failed-first", 0, "no"),
        ("garbage", 0, "starts with \"what\""),
        ("half", 2, "the pipe broke"),
        ("huge", 0, "a payload of 1152921504606846976 bytes"),
        ("infinite", 2, "weight 0 is inf"),
        ("layout", 2, "the pipe ended"),
        ("long-header", 0, "a header of 2147483648 bytes"),
        ("nan", 2, "weight 0 is NaN"),
        ("not-hello", 0, "its first message is \"ready\""),
        ("other-protocol", 0, "it speaks protocol 3"),
        ("others", 2, "it answered for client 0"),
        ("too-few", 2, "9 weights, expected 10"),
        ("two-parts", 2, "the part \"state\", which was not asked for"),
        ("unasked", 4, ""),
        ("whole", 4, ""),
        ("whole-after-hello", 4, ""),
        ("whole-bare", 4, ""),
        ("wrong-blocks", 3, "other blocks than the requested ones"),
    ];

    #[test]
    fn each_seed_of_the_fuzzer_reaches_the_check_of_its_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds");
        let received = |name: &str| receive_input(&std::fs::read(format!("{folder}/{name}")).unwrap());
        let fits = |&&(name, taken, why): &&(&str, usize, &str)| {
            let (accepted, cause) = received(name);
            accepted == taken && cause.is_some() != why.is_empty() && cause.unwrap_or_default().contains(why)
        };
        let wrong: Vec<_> = SEEDS.iter().filter(|seed| !fits(seed)).map(|(name, ..)| (name, received(name))).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), SEEDS.len(), "seeds in {folder}");
    }
}
