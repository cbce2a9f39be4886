//! The client's end of the pipe: isolates the process, opens the model and answers the host's requests.

use std::{
    io::{Read, Write},
    path::Path,
    time::Instant,
};

use anyhow::Result;
use fedpipe_protocol::{
    FailureKind, FrameError, InForce, Isolation, Limits, MOST_VECTORS, PROTOCOL, Part, PartData, Parts, Purpose, Ready,
    Reply, Request, Setup, Spare, WEIGHTS, begin, write, write_header,
};

use crate::{
    lender::WeightWriter,
    loader::{LoadError, Loaded},
    sandbox::{MissingIsolation, Policy},
    session::{Failure, Session, describe, evaluate::Evaluated, train::Trained},
};

/// Isolates this process, and returns the isolation in force.
pub(crate) type Lock = fn(&Policy) -> Result<InForce, MissingIsolation>;

/// Sends `Hello`, handles the setup, and answers requests until the pipe ends.
///
/// The client reports a failure to the host and then ends the conversation, since the state of the model is unknown
/// after it. `lock` isolates this process permanently, so the process must have one thread.
///
/// # Errors
/// Only errors of the pipe.
pub(crate) fn serve(reader: &mut impl Read, writer: &mut impl WeightWriter, lock: Lock) -> Result<()> {
    let spare = Spare::default();
    write(writer, &Reply::Hello { protocol: PROTOCOL }, &[])?;
    let Some((Request::Setup(setup), _)) = next(reader, None, &spare)? else {
        return Ok(());
    };
    let started = start(&setup, lock);
    let mut session = match started {
        Ok((session, ready)) => {
            write(writer, &Reply::Ready(ready), &[])?;
            session
        }
        Err(failure) => return fail(writer, failure),
    };
    while let Some((request, parts)) = next(reader, session.as_mut(), &spare)? {
        let answered = match session.as_mut() {
            Some(session) => {
                session.asked = Instant::now();
                answer(session, request, parts)
            }
            None => Err(Failure::new(FailureKind::Protocol, "a client that describes its model has no data")),
        };
        match answered {
            Ok(answer) => send(writer, &answer)?,
            Err(failure) => return fail(writer, failure),
        }
    }
    Ok(())
}

fn next(reader: &mut impl Read, session: Option<&mut Session>, spare: &Spare) -> Result<Option<(Request, Parts)>> {
    let payload = session.as_ref().map_or(0, |session| MOST_VECTORS * 4 * session.weight_count() as u64);
    let begun = match begin(reader, Limits::request(payload)) {
        Ok(begun) => begun,
        Err(FrameError::End) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The new weights take the buffer of the previous ones.
    let replaced = session.filter(|_| begun.has_part(WEIGHTS)).and_then(|session| session.received.take());
    replaced.into_iter().for_each(|received| spare.keep(received.weights));
    Ok(Some(begun.finish(reader, spare)?))
}

fn send(writer: &mut impl WeightWriter, SentReply { reply, weights, parts }: &SentReply<'_>) -> Result<()> {
    let weights = weights.map(|weights| Part::F32(WEIGHTS, weights));
    let others = parts.iter().map(|(name, data)| data.as_part(name));
    let all: Vec<Part<'_>> = weights.into_iter().chain(others).collect();
    write_header(writer, reply, &all)?;
    let owned = match &all[..] {
        [weights @ Part::F32(WEIGHTS, _), rest @ ..] => {
            // The next request changes the weights. The host sends it after it has read this whole reply.
            writer.lend(weights.bytes())?;
            rest
        }
        all => all,
    };
    owned.iter().try_for_each(|part| writer.write_all(part.bytes()))?;
    Ok(writer.flush()?)
}

fn fail(writer: &mut impl Write, Failure { kind, message }: Failure) -> Result<()> {
    Ok(write(writer, &Reply::Failed { kind, message }, &[])?)
}

fn start(setup: &Setup, lock: Lock) -> Result<(Option<Session>, Ready), Failure> {
    let Some(dylib) = &setup.dylib else {
        return Err(Failure::new(FailureKind::Protocol, "the setup names no dylib"));
    };
    // The lock must precede the dylib, whose constructors run when it is loaded.
    let in_force = lock(&policy(setup, dylib)).map_err(|missing| Failure::new(FailureKind::Isolation, missing))?;
    let loaded = Loaded::open(dylib).map_err(|error| not_loaded(&error, &in_force))?;
    let (session, ready) = match &setup.purpose {
        Purpose::Describe => (None, describe(loaded)?),
        Purpose::Serve { task, partitions, test } => {
            let (session, ready) = Session::start(loaded, setup, task, partitions, test)?;
            (Some(session), ready)
        }
    };
    Ok((session, Ready { in_force, ..ready }))
}

/// Returns the policy of this process: it may read the dylib and its data.
fn policy(setup: &Setup, dylib: &Path) -> Policy {
    let mut readable = vec![dylib.to_owned()];
    if let Purpose::Serve { partitions, test, .. } = &setup.purpose {
        readable.extend(partitions.iter().map(|held| &held.path).chain([test]).cloned());
    }
    let Isolation { level, memory_limit, cpu_seconds } = setup.isolation;
    Policy { level, readable, memory_limit, cpu_seconds, ..Policy::default() }
}

fn not_loaded(error: &LoadError, in_force: &InForce) -> Failure {
    let mut message = error.to_string();
    // The loader has the same message for a library that is missing and for one that it may not read.
    if in_force.landlock_abi.is_some() && message.contains("cannot open shared object file") {
        message += "; with isolation a model can load only the system's libraries, with --isolation off all of them";
    }
    Failure::new(kind_of(error), message)
}

fn kind_of(error: &LoadError) -> FailureKind {
    match error {
        LoadError::CannotOpen(_) => FailureKind::CannotOpen,
        LoadError::NotAModel(_) => FailureKind::NotAModel,
        LoadError::OtherAbi { .. } => FailureKind::OtherAbi,
        LoadError::Refused(_) => FailureKind::Refused,
    }
}

/// A reply with its parts.
struct SentReply<'a> {
    reply: Reply,
    /// The model's weights, which are lent to the pipe.
    weights: Option<&'a [f32]>,
    parts: Vec<(String, PartData)>,
}

fn answer(session: &mut Session, request: Request, mut parts: Parts) -> Result<SentReply<'_>, Failure> {
    let none = Vec::new();
    match request {
        Request::Setup(_) | Request::Launch(_) => Err(Failure::new(FailureKind::Protocol, "a second setup")),
        Request::GetWeights => Ok(SentReply { reply: Reply::Weights, weights: Some(session.weights()?), parts: none }),
        Request::Train(train) => {
            session.receive(train.weights_version, &mut parts)?;
            let Trained { update, encoded, mut slots } = session.train(&train, parts)?;
            let is_plain = encoded.is_none();
            slots.splice(0..0, encoded.into_iter().flatten());
            let weights = if is_plain { Some(session.weights()?) } else { None };
            Ok(SentReply { reply: Reply::Update(update), weights, parts: slots })
        }
        Request::Evaluate(evaluate) => {
            session.receive(evaluate.weights_version, &mut parts)?;
            session.use_received()?;
            let Evaluated { blocks, parts } = session.evaluate(&evaluate)?;
            Ok(SentReply { reply: Reply::Evaluated { blocks }, weights: None, parts })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, path::PathBuf};

    use fedpipe_protocol::{Level, read};

    use super::*;

    impl WeightWriter for Vec<u8> {
        fn lend(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.write_all(bytes)
        }
    }

    fn setup(dylib: Option<&str>) -> Request {
        Request::Setup(Setup {
            dylib: dylib.map(PathBuf::from),
            dylib_sha256: None,
            test_sha256: None,
            options: [].into(),
            seed: 0,
            init_seed: None,
            isolation: Isolation { level: Level::Require, memory_limit: None, cpu_seconds: None },
            purpose: Purpose::Describe,
        })
    }

    /// Returns the replies to these requests; `lock` isolates nothing.
    fn replies(requests: &[Request], lock: Lock) -> Vec<Reply> {
        let (mut sent, mut written) = (Vec::new(), Vec::new());
        requests.iter().for_each(|request| write(&mut sent, request, &[]).unwrap());
        serve(&mut sent.as_slice(), &mut written, lock).unwrap();
        let mut rest = written.as_slice();
        std::iter::from_fn(|| read(&mut rest, Limits::reply(0)).ok().map(|(reply, _)| reply)).collect()
    }

    fn open(_: &Policy) -> Result<InForce, MissingIsolation> {
        Ok(InForce::default())
    }

    #[test]
    fn a_client_greets_and_ends_with_its_pipe() {
        let hello = Reply::Hello { protocol: PROTOCOL };
        assert_eq!(replies(&[], open), std::slice::from_ref(&hello));
        // A conversation begins with a setup.
        assert_eq!(replies(&[Request::GetWeights], open), [hello]);
    }

    #[test]
    fn a_failure_is_the_last_reply() {
        let refused: Lock = |_| Err(MissingIsolation(vec!["Landlock (a reason)".into()]));
        let cases = [
            (setup(None), open as Lock, FailureKind::Protocol, "the setup names no dylib"),
            // The dylib is not opened: there is none.
            (setup(Some("/nonexistent.so")), refused, FailureKind::Isolation, "Landlock (a reason)"),
            (setup(Some("/nonexistent.so")), open, FailureKind::CannotOpen, "cannot open /nonexistent.so"),
        ];
        for (setup, lock, expected, says) in cases {
            let replies = replies(&[setup, Request::GetWeights], lock);
            let [Reply::Hello { .. }, Reply::Failed { kind, message }] = &replies[..] else { panic!("{replies:?}") };
            assert!(*kind == expected && message.contains(says), "{kind:?} {message}");
        }
    }
}
