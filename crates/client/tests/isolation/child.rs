//! The client process of these tests: isolates itself as a client does and carries out its plan.
#![allow(unsafe_code, reason = "a call of another architecture needs assembly, and a library is opened directly")]

use std::{
    collections::BTreeMap,
    io::{IoSlice, Read},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use abi_stable::std_types::{RSlice, RSliceMut, RStr};
use fedpipe_client::{
    Loaded,
    sandbox::{Policy, lock_in},
};
use fedpipe_data::{Partition, Pixels};
use fedpipe_model::abi::{AbiEpoch, AbiExamples};
use fedpipe_protocol::{InForce, Level};
use nix::fcntl::{SpliceFFlags, vmsplice};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde::{Deserialize, Serialize};

/// The variable that makes this program a client.
pub(crate) const VARIABLE: &str = "FEDPIPE_ISOLATION_PLAN";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) role: Role,
    pub(crate) policy: Policy,
    /// The system calls that the kernel appears to lack.
    pub(crate) absent: Vec<i64>,
    /// The number of threads that are started before the lock.
    pub(crate) threads: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Loads the dylib and trains one epoch.
    Train {
        dylib: PathBuf,
        partition: PathBuf,
    },
    /// Holds a secret, and waits.
    Victim,
    /// Allocates this many bytes.
    Allocate(usize),
    /// Computes without end.
    Spin,
    Abort,
    Panic,
    Overflow,
    Exit(u8),
    StartThread,
    /// Lends a line feed to its standard output.
    Lend,
    ForeignCall,
    /// Opens libraries by name.
    Libraries(Vec<String>),
}

/// The report that a client writes to its standard output.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) in_force: Option<InForce>,
    pub(crate) refused: Option<String>,
    pub(crate) lock: Duration,
    pub(crate) training: Duration,
    pub(crate) weights: Vec<f32>,
    pub(crate) errors: Vec<String>,
}

pub(crate) fn plan() -> Option<Plan> {
    serde_json::from_str(&std::env::var(VARIABLE).ok()?).ok()
}

pub(crate) fn main(plan: Plan) -> ExitCode {
    // The test may inherit descriptors of cargo and the shell. A host closes them for its clients.
    // SAFETY: nothing in this process owns a descriptor above 2 yet.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    pretend_absent(&plan.absent);
    for _ in 0..plan.threads {
        std::thread::spawn(std::thread::park);
    }
    let mut report = Report::default();
    let start = Instant::now();
    match lock_in(&plan.policy) {
        Ok(in_force) => report.in_force = Some(in_force),
        Err(missing) => report.refused = Some(missing.to_string()),
    }
    report.lock = start.elapsed();
    if report.refused.is_none() {
        act(plan.role, &mut report);
    }
    println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
    ExitCode::SUCCESS
}

fn act(role: Role, report: &mut Report) {
    match role {
        Role::Train { dylib, partition } => train(&dylib, &partition, report),
        Role::Victim => wait_with_secret(),
        Role::Allocate(bytes) => drop(std::hint::black_box(vec![1_u8; bytes])),
        Role::Spin => loop {
            std::hint::spin_loop();
        },
        Role::Abort => std::process::abort(),
        Role::Panic => panic!("as planned"),
        Role::Overflow => drop(std::hint::black_box(overflow(0))),
        Role::Exit(code) => std::process::exit(code.into()),
        Role::StartThread => {
            let started = std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().is_ok());
            report.errors.extend(started.err().map(|error| error.to_string()));
        }
        Role::Lend => {
            let lent = vmsplice(std::io::stdout(), &[IoSlice::new(b"\n")], SpliceFFlags::empty());
            report.errors.extend(lent.err().map(|error| error.to_string()));
        }
        Role::ForeignCall => foreign_call(),
        Role::Libraries(names) => {
            // SAFETY: these are libraries of the system. Their constructors are harmless.
            let open = |name: &String| unsafe { libloading::Library::new(name) }.map(std::mem::forget);
            report.errors.extend(names.iter().filter_map(|name| open(name).err()).map(|error| error.to_string()));
        }
    }
}

#[allow(unconditional_recursion, reason = "that is its purpose")]
fn overflow(depth: u64) -> u64 {
    std::hint::black_box(overflow(depth + 1)) + depth
}

/// Makes these calls fail as on a kernel that lacks them.
fn pretend_absent(calls: &[i64]) {
    if calls.is_empty() {
        return;
    }
    let rules: BTreeMap<_, _> = calls.iter().map(|&call| (call, vec![])).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let target = std::env::consts::ARCH.try_into().expect("these tests run where seccomp does");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, target).expect("the rules are sound");
    apply_filter(&BpfProgram::try_from(filter).expect("the rules are few")).expect("seccomp is there");
}

fn wait_with_secret() {
    let secret = b"sixteen secrets!".to_vec();
    println!("{}", secret.as_ptr() as usize);
    let _ = std::io::stdin().read(&mut [0]);
    drop(std::hint::black_box(secret));
}

/// Calls `getpid` of 32-bit x86.
fn foreign_call() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the call returns a number or ends the process.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20 => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
}

fn train(dylib: &std::path::Path, partition: &std::path::Path, report: &mut Report) {
    let loaded = Loaded::open(dylib).expect("the dylib loads under the lock");
    let partition = Partition::open(partition).expect("its own partition may be read");
    let task = serde_json::json!({ "shape": partition.shape(), "target": { "classes": 10 } }).to_string();
    let (mut model, _) = loaded.build("{}", &task, 1).expect("the model is built");
    let Pixels::U8(bytes) = partition.pixels() else { panic!("the partition has bytes") };
    let order: Vec<u32> = (0..partition.len() as u32).collect();
    let examples = AbiExamples {
        is_bytes: true,
        bytes: RSlice::from_slice(bytes),
        floats: RSlice::EMPTY,
        row_len: partition.shape().iter().product::<usize>() as u64,
        labels: RSlice::from_slice(partition.labels()),
        targets: RSlice::EMPTY,
        order: RSlice::from_slice(&order),
    };
    let start = Instant::now();
    model.train_epoch(examples, epoch()).into_result().expect("training works under the lock");
    report.training = start.elapsed();
    report.weights = vec![0.0; model.weight_count().into_result().expect("the model has weights") as usize];
    let weights = RSliceMut::from_mut_slice(&mut report.weights);
    model.get_weights(weights).into_result().expect("the model returns its weights");
}

fn epoch() -> AbiEpoch<'static> {
    AbiEpoch {
        seed: 1,
        round: 1,
        client: 0,
        epoch: 0,
        learning_rate: 0.1,
        batch_size: 32,
        optimiser: RStr::from(r#"{"name":"sgd"}"#),
        step_limit: 0,
        trainable: RSlice::EMPTY,
        proximal: 0.0,
        anchor: RSlice::EMPTY,
        linear: RSlice::EMPTY,
    }
}

/// Returns a policy such as a host sends.
pub(crate) fn policy(level: Level, readable: &[PathBuf]) -> Policy {
    Policy { level, readable: readable.to_vec(), memory_limit: Some(1 << 30), ..Policy::default() }
}
