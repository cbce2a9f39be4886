//! The surroundings of a client that a hostile model attacks.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use fedpipe_protocol::Level;
use tempfile::TempDir;

use crate::child::{Plan, Report, Role, VARIABLE, policy};

/// Two clients' partitions, a run directory, a listener on each kind of socket, and a sibling client.
pub(crate) struct Stage {
    directory: TempDir,
    secret: Vec<u8>,
    sibling: Child,
    sibling_address: usize,
    tcp: TcpListener,
    udp: UdpSocket,
    // They stay open until the stage is dropped.
    _sockets: [UnixListener; 2],
}

impl Stage {
    /// Makes a stage whose partitions have `examples` examples each, of 28 × 28 bytes.
    pub(crate) fn new(examples: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["own", "sibling"] {
            fs::write(at(name), partition(examples)).unwrap();
        }
        fs::create_dir_all(at("run/mount")).unwrap();
        for name in ["ledger.jsonl", "truncate", "rename", "remove"] {
            fs::write(at("run").join(name), "x").unwrap();
        }
        let victim =
            Plan { role: Role::Victim, policy: policy(Level::Auto, &[at("sibling")]), absent: Vec::new(), threads: 0 };
        let mut sibling = command(&victim).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(sibling.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let abstract_socket = SocketAddr::from_abstract_name(abstract_name(directory.path())).unwrap();
        Self {
            secret: b"the host's bytes".to_vec(),
            sibling,
            sibling_address: line.trim().parse().unwrap(),
            tcp: TcpListener::bind(("127.0.0.1", 0)).unwrap(),
            udp: UdpSocket::bind(("127.0.0.1", 0)).unwrap(),
            _sockets: [UnixListener::bind(at("socket")).unwrap(), UnixListener::bind_addr(&abstract_socket).unwrap()],
            directory,
        }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a client that trains the model `name`, one of the dylibs beside this test.
    pub(crate) fn train(&self, name: &str, level: Level, absent: &[i64]) -> Output {
        let dylib = std::env::current_exe().unwrap().with_file_name(format!("lib{name}.so"));
        let plan = Plan {
            policy: policy(level, &[dylib.clone(), self.at("own")]),
            role: Role::Train { dylib, partition: self.at("own") },
            absent: absent.to_vec(),
            threads: 0,
        };
        command(&plan).current_dir(self.at("run")).env("FEDPIPE_HOSTILE", self.targets()).output().unwrap()
    }

    /// Returns the variable that the hostile model reads: its targets.
    fn targets(&self) -> String {
        let port = |address: std::io::Result<std::net::SocketAddr>| address.unwrap().port();
        let targets = [
            ("sibling_partition", self.at("sibling").display().to_string()),
            ("own_partition", self.at("own").display().to_string()),
            ("scratch", self.at("run").display().to_string()),
            ("host_pid", std::process::id().to_string()),
            ("host_address", (self.secret.as_ptr() as usize).to_string()),
            ("sibling_pid", self.sibling.id().to_string()),
            ("sibling_address", self.sibling_address.to_string()),
            ("tcp_port", port(self.tcp.local_addr()).to_string()),
            ("udp_port", port(self.udp.local_addr()).to_string()),
            ("unix", self.at("socket").display().to_string()),
            ("abstract_name", abstract_name(self.directory.path())),
            ("too_much", (2_usize << 30).to_string()),
        ];
        targets.map(|(key, value)| format!("{key} {value}\n")).concat()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.sibling.kill();
        let _ = self.sibling.wait();
    }
}

/// Returns the name of the abstract socket: the path of the directory, which is unique to the test.
fn abstract_name(directory: &Path) -> String {
    directory.display().to_string()
}

/// Returns the command that runs this program as a client.
fn command(plan: &Plan) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(VARIABLE, serde_json::to_string(plan).unwrap());
    command.stdin(Stdio::null());
    command
}

/// Runs a client to its end.
pub(crate) fn run(plan: &Plan) -> Output {
    command(plan).output().unwrap()
}

/// Returns the report of a client that succeeded.
pub(crate) fn report(output: &Output) -> Report {
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{errors}", output.status);
    serde_json::from_str(&out).unwrap()
}

/// Returns the mechanisms that the kernel of this machine lacks.
pub(crate) fn missing_here() -> Vec<String> {
    let plan = Plan { role: Role::Exit(0), policy: policy(Level::Require, &[]), absent: Vec::new(), threads: 0 };
    let output = run(&plan);
    // A client whose lock succeeds exits before it reports.
    serde_json::from_slice::<Report>(&output.stdout).ok().and_then(|report| report.refused).into_iter().collect()
}

/// Returns a partition file of `examples` images that all differ.
fn partition(examples: usize) -> Vec<u8> {
    let (labels, pixels) = (4 * examples, 784 * examples);
    let mut header = serde_json::json!({
        "labels": { "dtype": "U32", "shape": [examples], "data_offsets": [0, labels] },
        "examples": { "dtype": "U8", "shape": [examples, 28, 28], "data_offsets": [labels, labels + pixels] },
    })
    .to_string();
    header.extend(std::iter::repeat_n(' ', (8 + header.len()).next_multiple_of(64) - 8 - header.len()));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend((0..examples as u32).flat_map(|i| (i % 10).to_le_bytes()));
    // The pixels come from a simple generator. Half of them are 0, as in Fashion-MNIST.
    let noise = std::iter::successors(Some(1_u32), |x| Some(x.wrapping_mul(747_796_405).wrapping_add(2_891_336_453)));
    file.extend(noise.map(|x| if x >> 31 == 0 { 0 } else { (x >> 16) as u8 }).take(pixels));
    file
}
