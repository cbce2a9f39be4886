use std::{fs::File, os::fd::OwnedFd, sync::Mutex};

use fedpipe_protocol::{Evaluate, FrameError, Purpose, Ready, Train, Update};

use super::*;

/// The requests that a client hears, each with the first of its weights, if it has some, and what the host's thread reports.
fn said_to(client: &[(Reply, Option<f32>)], orders: Vec<Order>) -> (Vec<(Request, Option<f32>)>, Vec<News>) {
    let files = || std::io::pipe().map(|(from, to)| (File::from(OwnedFd::from(from)), File::from(OwnedFd::from(to))));
    let ((mut heard, to), (from, mut says)) = (files().unwrap(), files().unwrap());
    for (reply, weight) in client {
        let weights = weight.map(|weight| [weight]);
        write(&mut says, reply, weights.as_ref().map(|weights| Part::F32(WEIGHTS, weights)).as_slice()).unwrap();
    }
    let (sender, received) = mpsc::channel();
    orders.into_iter().for_each(|order| sender.send(order).unwrap());
    drop(sender);
    let news = Mutex::new(Vec::new());
    let report = |what| {
        news.lock().unwrap().push(what);
        true
    };
    let mut link = Link::to_nobody(to, from);
    let Err(end) = converse(&mut link, None, &received, Duration::from_secs(60), &Spare::default(), &report);
    assert!(matches!(end, End::Dismissed));
    drop(link);
    let mut requests = Vec::new();
    loop {
        match read(&mut heard, Limits { payload: 4 }) {
            Ok((request, mut parts)) => requests.push((request, parts.take_f32(WEIGHTS).map(|weights| weights[0]))),
            Err(FrameError::End) => return (requests, news.into_inner().unwrap()),
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
        keeps_weights,
        in_force,
    })
}

fn order(request: Request, weights: Option<&Arc<Vec<f32>>>, reply_payload: u64) -> Order {
    Order { request, weights: weights.cloned(), reply_payload }
}

#[test]
fn weights_are_sent_once_to_a_client_that_keeps_them() {
    let setup = Request::Setup(Setup {
        dylib: None,
        dylib_sha256: None,
        test_sha256: None,
        options: Default::default(),
        seed: 0,
        isolation: Default::default(),
        purpose: Purpose::Describe,
    });
    let optimiser = r#"{"name":"sgd"}"#.to_owned();
    let train = Request::Train(Train { client: 0, round: 1, epochs: 1, batch_size: 1, learning_rate: 0.1, optimiser });
    let evaluate = Request::Evaluate(Evaluate { blocks: vec![0] });
    let update = Reply::Update(Update {
        client: 0,
        round: 1,
        steps: 1,
        accumulation: None,
        loss_sum: 0.0,
        correct: 0,
        examples: 1,
    });
    let scored = Reply::Evaluated { blocks: Vec::new() };
    // The last are equal to the first, and others.
    let [first, second, third] = [1.0, 2.0, 1.0].map(|weight| Arc::new(vec![weight]));
    for (keeps, expected) in [
        (true, [None, Some(1.0), None, Some(2.0), None, Some(1.0)]),
        (false, [None, Some(1.0), Some(1.0), Some(2.0), Some(2.0), Some(1.0)]),
    ] {
        let orders = vec![
            order(setup.clone(), None, 0),
            order(train.clone(), Some(&first), 4),
            order(train.clone(), Some(&first), 4),
            order(evaluate.clone(), Some(&second), 0),
            order(train.clone(), Some(&second), 4),
            order(train.clone(), Some(&third), 4),
        ];
        let client = [
            (Reply::Hello { protocol: PROTOCOL }, None),
            (ready(keeps), None),
            (update.clone(), Some(0.5)),
            (update.clone(), Some(0.5)),
            (scored.clone(), None),
            (update.clone(), Some(0.5)),
            (update.clone(), Some(0.5)),
        ];
        let (requests, news) = said_to(&client, orders);
        assert_eq!(requests.iter().map(|(_, weights)| *weights).collect::<Vec<_>>(), expected, "keeps: {keeps}");
        // An answer with weights is announced when it begins.
        let announced: Vec<bool> = news.iter().map(|news| matches!(news, News::Answers)).collect();
        assert_eq!(announced, [false, true, false, true, false, false, true, false, true, false]);
    }
}
