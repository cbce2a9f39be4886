//! The setup that each client process gets as its first message.

use fedpipe_data::{DatasetInfo, Dealt, counted};
use fedpipe_protocol::{HeldPartition, MAX_HEADER, Purpose, Request, Setup, Target, Task, header_length};
use fedpipe_record::experiment::Experiment;

use crate::{
    error::{Error, Result},
    experiment::{limits::isolation_of_each, processes::process_count},
    run::{active::RunContext, directory::Dylib},
};

/// Returns the setup of each client process, in order.
///
/// # Errors
/// Returns [`Error::Usage`] for setups that cannot be sent.
pub(super) fn setups(context: &RunContext<'_>, dylib: Option<&Dylib>, dealt: &Dealt) -> Result<Vec<Setup>> {
    let RunContext { experiment, launch, .. } = *context;
    let processes = process_count(experiment);
    // A client elsewhere has its own files, and refuses any but those of this run.
    let elsewhere = launch.command.elsewhere;
    let dylib_sha256 = dylib.filter(|_| elsewhere).map(|dylib| dylib.sha256.clone());
    let test_sha256 = elsewhere.then(|| dealt.test.sha256.clone());
    let setup = |process| Setup {
        dylib: dylib.map(|dylib| dylib.path.clone()),
        dylib_sha256: dylib_sha256.clone(),
        test_sha256: test_sha256.clone(),
        options: experiment.model_options.clone(),
        seed: experiment.seed.0,
        init_seed: experiment.init_seed.map(|seed| seed.0),
        isolation: isolation_of_each(experiment),
        purpose: Purpose::Serve {
            task: task(&dealt.dataset),
            partitions: held_by(process, processes, experiment.clients.count, dealt),
            test: dealt.test.path.clone(),
        },
    };
    let setups: Vec<Setup> = (0..processes).map(setup).collect();
    // The first process has as many clients as any other.
    setups.first().map_or(Ok(()), |setup| check_sendable(setup, experiment, MAX_HEADER))?;
    Ok(setups)
}

/// Returns the task that a dataset defines.
pub(crate) fn task(dataset: &DatasetInfo) -> Task {
    let classes = dataset.target.class_count();
    Task { shape: dataset.shape.clone(), target: classes.map_or(Target::Real, |n| Target::Classes(n as usize)) }
}

/// Returns the partitions of one process: those of the clients whose number is its own modulo `processes`.
fn held_by(process: u32, processes: u32, clients: u32, dealt: &Dealt) -> Vec<HeldPartition> {
    let held = (process..clients).step_by(processes as usize);
    held.map(|client| HeldPartition { client, path: dealt.path_of(client), sha256: dealt.sha256_of(client) }).collect()
}

/// Refuses a setup that no message can carry, or whose dylib the system's loader would look for elsewhere. Neither is a
/// fault of a client.
fn check_sendable(setup: &Setup, experiment: &Experiment, most: u32) -> Result<()> {
    /// The tokens that `dlopen` replaces in a path (ld.so(8)).
    const REPLACED: [&str; 6] = ["$ORIGIN", "${ORIGIN}", "$LIB", "${LIB}", "$PLATFORM", "${PLATFORM}"];
    let Purpose::Serve { task, partitions, test } = &setup.purpose else { return Ok(()) };
    let paths = setup.dylib.iter().chain([test]).chain(partitions.iter().map(|held| &held.path));
    if let Some(path) = paths.into_iter().find(|path| path.to_str().is_none()) {
        return Err(Error::Usage(format!(
            "the path {} is not UTF-8, so that no message can carry it to a client; work in another folder",
            path.display()
        )));
    }
    let dylib = setup.dylib.as_ref().map(|dylib| dylib.display().to_string()).unwrap_or_default();
    if let Some(token) = REPLACED.iter().find(|token| dylib.contains(*token)) {
        return Err(Error::Usage(format!(
            "the path {dylib} has {token} in it, which the system's loader replaces; give another folder with --out"
        )));
    }
    let length = |setup: &Setup| header_length(&Request::Setup(setup.clone())).map_err(anyhow::Error::from);
    let whole = length(setup)?;
    let most = most as usize;
    if whole <= most {
        return Ok(());
    }
    let purpose = Purpose::Serve { task: task.clone(), partitions: Vec::new(), test: test.clone() };
    let rest = length(&Setup { purpose, ..setup.clone() })?;
    let fit = most.saturating_sub(rest) * partitions.len() / (whole - rest).max(1);
    let processes = experiment.clients.count.div_ceil((fit as u32).max(1));
    Err(Error::Usage(format!(
        "one client process would serve {}, and a message has room for {fit}; give --processes {processes} or more",
        counted(partitions.len(), "client")
    )))
}

/// Returns the bytes of each pipe. All pipes together stay within 32 MiB: past the user's limit, the kernel shrinks new
/// pipes.
pub(crate) fn pipe_size(processes: u32) -> i32 {
    const ALL: u32 = 32 << 20;
    const MOST: u32 = 1 << 20;
    (ALL / (2 * processes)).min(MOST).cast_signed()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use fedpipe_protocol::{Isolation, Level};

    use super::*;

    /// Returns a setup with so many clients, whose dylib is `dylib`.
    fn setup(clients: u32, dylib: &OsStr) -> Setup {
        let held = |client| HeldPartition {
            client,
            path: format!("/home/somebody/.cache/fedpipe/partitions/{client:032}/{client:06}.safetensors").into(),
            sha256: Some("0".repeat(64)),
        };
        Setup {
            dylib: Some(dylib.into()),
            dylib_sha256: None,
            test_sha256: None,
            options: Default::default(),
            seed: 0,
            init_seed: None,
            isolation: Isolation { level: Level::Auto, memory_limit: None, cpu_seconds: None },
            purpose: Purpose::Serve {
                task: Task { shape: vec![28, 28], target: Target::Classes(10) },
                partitions: (0..clients).map(held).collect(),
                test: "/test".into(),
            },
        }
    }

    fn refusal(clients: u32, dylib: &OsStr) -> Option<String> {
        let mut experiment = Experiment::default();
        experiment.clients.count = clients;
        check_sendable(&setup(clients, dylib), &experiment, 1 << 20).err().map(|error| error.to_string())
    }

    #[test]
    fn a_setup_that_no_message_carries_is_refused_with_the_number_that_fits() {
        let dylib = OsStr::new("/run/model.so");
        let why = refusal(12_000, dylib).unwrap();
        assert!(why.starts_with("one client process would serve 12000 clients, and a message has room for "), "{why}");
        let number = |text: &str| why.split(text).nth(1).unwrap().split([' ', ';']).next().unwrap().parse().unwrap();
        let (fit, processes): (u32, u32) = (number("room for "), number("--processes "));
        assert_eq!(processes, 12_000_u32.div_ceil(fit));
        assert_eq!(refusal(fit, dylib), None);
        assert!(refusal(fit + fit / 100, dylib).is_some());
    }

    #[test]
    fn one_process_may_serve_sixty_thousand_clients() {
        let clients = 60_000;
        let dylib = OsStr::new("/run/model.so");
        let mut experiment = Experiment::default();
        experiment.clients.count = clients;
        check_sendable(&setup(clients, dylib), &experiment, MAX_HEADER).unwrap();
    }

    #[test]
    fn a_path_that_would_be_another_one_to_a_client_is_refused() {
        assert!(refusal(1, OsStr::from_bytes(b"/run\xff/model.so")).unwrap().contains("is not UTF-8"));
        assert!(refusal(1, OsStr::new("/$ORIGIN/model.so")).unwrap().contains("has $ORIGIN in it"));
        assert!(refusal(1, OsStr::new("/a${LIB}/model.so")).unwrap().contains("has ${LIB} in it"));
        assert_eq!(refusal(1, OsStr::new("/$HOME/model.so")), None);
    }

    #[test]
    fn all_pipes_together_stay_within_the_users_limit() {
        assert_eq!(pipe_size(1), 1 << 20);
        for processes in [16, 17, 1000, 100_000] {
            assert!(2 * i64::from(pipe_size(processes)) * i64::from(processes) <= 32 << 20, "{processes} processes");
        }
    }
}
