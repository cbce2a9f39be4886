//! Tests of the conversation with a client whose messages are written in advance.

use std::{fs::File, os::fd::OwnedFd, sync::Mutex};

use fedpipe_protocol::{Evaluate, Isolation, Level, PROTOCOL, Ready, Train, Update, write};

use super::*;
use crate::process::scripted;

/// A conversation that has ended.
struct Ended {
    /// The requests that the client received, each with the first of its weights, if it had some.
    requests: Vec<(Request, Option<f32>)>,
    reports: Vec<ProcessReport>,
    end: ConversationEnd,
}

/// Has a conversation with a client that says these replies, each with a weight or without, and no more.
fn conversation(client: &[(Reply, Option<f32>)], assigned: Vec<Assignment>) -> Ended {
    let files = || std::io::pipe().map(|(from, to)| (File::from(OwnedFd::from(from)), File::from(OwnedFd::from(to))));
    let ((mut heard, to), (from, mut says)) = (files().unwrap(), files().unwrap());
    for (reply, weight) in client {
        let weights = weight.map(|weight| [weight]);
        write(&mut says, reply, weights.as_ref().map(|weights| Part::F32(WEIGHTS, weights)).as_slice()).unwrap();
    }
    drop(says);
    let (sender, received) = mpsc::channel();
    assigned.into_iter().for_each(|assignment| sender.send(assignment).unwrap());
    drop(sender);
    let reports = Mutex::new(Vec::new());
    let report = |report| {
        reports.lock().unwrap().push(report);
        true
    };
    let mut peer = scripted::peer(to, from);
    let Err(end) = converse(&mut peer, None, &received, &Spare::default(), &report);
    drop(peer);
    let mut requests = Vec::new();
    loop {
        match read(&mut heard, Limits::request(4)) {
            Ok((request, mut parts)) => requests.push((request, parts.take_f32(WEIGHTS).map(|weights| weights[0]))),
            Err(FrameError::End) => return Ended { requests, reports: reports.into_inner().unwrap(), end },
            Err(error) => panic!("{error}"),
        }
    }
}

fn ready(keeps_weights: bool) -> Reply {
    let text = String::new;
    let (options, layout, examples, in_force) = Default::default();
    Reply::Ready(Ready {
        name: text(),
        version: text(),
        summary: text(),
        options,
        layout,
        examples,
        held_out: Vec::new(),
        instruction_set: String::new(),
        features: keeps_weights.then(|| feature::KEEPS_WEIGHTS.to_owned()).into_iter().collect(),
        in_force,
    })
}

fn assign(request: Request, weights: Option<&Arc<Vec<f32>>>, reply_payload: u64) -> Assignment {
    Assignment {
        request,
        weights: weights.cloned(),
        parts: Vec::new(),
        reply_payload,
        check: ReplyCheck::none(),
        cores: None,
    }
}

fn setup() -> Request {
    let isolation = Isolation { level: Level::Off, memory_limit: None, cpu_seconds: None };
    Request::Setup(Setup::describe(None, isolation))
}

fn train() -> Request {
    Request::Train(Train::plain(0, 1))
}

fn update() -> Reply {
    Reply::Update(Update::plain(0, 1, 1))
}

const HELLO: (Reply, Option<f32>) = (Reply::Hello { protocol: PROTOCOL }, None);

#[test]
fn weights_are_sent_once_to_a_client_that_keeps_them() {
    let evaluate = Request::Evaluate(Evaluate::test(vec![0]));
    let scored = Reply::Evaluated { blocks: Vec::new() };
    // The third are equal to the first, and others.
    let [first, second, third] = [1.0, 2.0, 1.0].map(|weight| Arc::new(vec![weight]));
    for (keeps, expected) in [
        (true, [None, Some(1.0), None, Some(2.0), None, Some(1.0)]),
        (false, [None, Some(1.0), Some(1.0), Some(2.0), Some(2.0), Some(1.0)]),
    ] {
        let assigned = vec![
            assign(setup(), None, 0),
            assign(train(), Some(&first), 4),
            assign(train(), Some(&first), 4),
            assign(evaluate.clone(), Some(&second), 0),
            assign(train(), Some(&second), 4),
            assign(train(), Some(&third), 4),
        ];
        let updated = || (update(), Some(0.5));
        let client = [HELLO, (ready(keeps), None), updated(), updated(), (scored.clone(), None), updated(), updated()];
        let ended = conversation(&client, assigned);
        assert_eq!(ended.requests.iter().map(|(_, weights)| *weights).collect::<Vec<_>>(), expected, "keeps: {keeps}");
        assert!(matches!(ended.end, ConversationEnd::Dismissed));
        // A reply with weights is reported when it begins.
        let announced: Vec<bool> =
            ended.reports.iter().map(|report| matches!(report, ProcessReport::ReplyBegun)).collect();
        assert_eq!(announced, [false, true, false, true, false, false, true, false, true, false]);
    }
}

/// Returns the end of the conversation with a client that writes these bytes without a request.
fn unrequested_bytes(bytes: &[u8]) -> String {
    let files = || std::io::pipe().map(|(from, to)| (File::from(OwnedFd::from(from)), File::from(OwnedFd::from(to))));
    let ((_heard, to), (from, mut says)) = (files().unwrap(), files().unwrap());
    nix::fcntl::fcntl(&from, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    for reply in [&HELLO.0, &ready(true)] {
        write(&mut says, reply, &[]).unwrap();
    }
    std::io::Write::write_all(&mut says, bytes).unwrap();
    let (sender, received) = mpsc::channel();
    sender.send(assign(setup(), None, 0)).unwrap();
    let mut peer = scripted::peer(to, from);
    let Err(end) = converse(&mut peer, None, &received, &Spare::default(), &|_| true);
    match end {
        ConversationEnd::Unfit(cause) => cause.to_string(),
        ConversationEnd::Failed(error) => error.to_string(),
        ConversationEnd::Dismissed => "dismissed".into(),
    }
}

#[test]
fn a_message_of_an_idle_client_ends_the_conversation() {
    let mut whole = Vec::new();
    write(&mut whole, &Reply::Weights, &[]).unwrap();
    let part = "it broke the protocol: it sent a part of a message without a request";
    assert_eq!(unrequested_bytes(b"f"), part);
    assert_eq!(unrequested_bytes(&whole[..whole.len() - 1]), part);
    assert_eq!(unrequested_bytes(&whole), "it broke the protocol: it sent \"weights\" without a request");
    assert!(unrequested_bytes(b"Loading, please wait").contains("instead of \"fdp1\""));
}

#[test]
fn the_end_of_a_client_is_not_the_beginning_of_its_answer() {
    let weights = Arc::new(vec![1.0]);
    let ended =
        conversation(&[HELLO, (ready(true), None)], vec![assign(setup(), None, 0), assign(train(), Some(&weights), 4)]);
    assert!(matches!(ended.end, ConversationEnd::Failed(FrameError::End)));
    assert!(matches!(ended.reports[..], [ProcessReport::Replied(Reply::Ready(_), ..)]), "{:?}", ended.reports);
}
