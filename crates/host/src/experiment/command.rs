//! A program of the user's, such as the client of `--client COMMAND`: its command line and the files that identify it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use fedpipe_protocol::{LAUNCH, Level};
use fedpipe_record::{digest::bytes_sha256, identity::Files};

use crate::{
    error::{Error, Result},
    experiment::{
        closed::Closed,
        places::{Places, in_path},
        shim, wrapper,
    },
    process::{launched::Launched, spawn::ClientCommand},
};

/// A program of the user's, as its command line: split into words as by a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserProgram {
    words: Vec<String>,
}

/// The variables that hold a client to one thread and its hash tables to one order. Parallelism is processes, and each
/// must compute the same bits.
const ONE_THREAD: [(&str, &str); 9] = [
    ("OMP_NUM_THREADS", "1"),
    ("OPENBLAS_NUM_THREADS", "1"),
    ("MKL_NUM_THREADS", "1"),
    ("BLIS_NUM_THREADS", "1"),
    ("NUMEXPR_NUM_THREADS", "1"),
    ("TF_NUM_INTRAOP_THREADS", "1"),
    ("TF_NUM_INTEROP_THREADS", "1"),
    ("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"),
    ("PYTHONHASHSEED", "0"),
];

impl UserProgram {
    /// Parses the command of `flag`.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] for a command without a word, or with a quote that is not closed.
    pub(crate) fn parse(flag: &str, command: &str) -> Result<Self> {
        match shlex::split(command) {
            Some(words) if !words.is_empty() => Ok(Self { words }),
            Some(_) => Err(Error::Usage(format!("{flag} is empty; give a command, such as \"python3 program.py\""))),
            None => Err(Error::Usage(format!("{flag} {command:?} has a quote or a backslash that nothing follows"))),
        }
    }

    /// Returns the name for a run: the program's file without its extension, or its folder if the file is only
    /// `client`.
    pub(crate) fn name(&self) -> String {
        let script = self.words.iter().skip(1).find(|word| Path::new(word).is_file());
        let path = Path::new(script.unwrap_or(&self.words[0]));
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        folder.filter(|_| stem == "client").unwrap_or(stem)
    }

    /// Returns the files that the command names with their SHA-256: the program (unless it is found in PATH), scripts,
    /// data.
    pub(crate) fn files(&self) -> Files {
        let named = self.words.iter().enumerate().filter(|(index, word)| *index > 0 || word.contains('/'));
        // A device has no end, and a pipe waits for a writer.
        let files = named.filter(|(_, word)| Path::new(word).is_file());
        let contents = files.filter_map(|(_, word)| Some((word, fs::read(word).ok()?)));
        contents.map(|(word, bytes)| (word.clone(), bytes_sha256(&bytes))).collect()
    }

    /// Returns the command by which `launcher`, fedpipe's own client, starts this command confined. The program can
    /// read nothing of `closed`, and no runs or datasets in the folders that it may read.
    ///
    /// # Errors
    /// Returns [`Error::Model`] for a missing program. If the program is confined, also for one that starts other
    /// processes and for one that lies in a closed path.
    pub(crate) fn launched(
        &self,
        launcher: &ClientCommand,
        closed: &Closed,
        level: Level,
    ) -> Result<(ClientCommand, Launched)> {
        let is_confined = level != Level::Off;
        let mut words = self.words.clone();
        let at = wrapper::program_at(&words, is_confined)?;
        // A wrapper is executed, and becomes the program.
        let first = self.program(0)?;
        let mut program = self.program(at)?;
        let in_path = !words[at].contains('/');
        if let Some(stands_for) = shim::stands_for(&program, in_path, is_confined)? {
            // An interpreter finds its libraries by the name of its command.
            words[at] = stands_for.display().to_string();
            program = stands_for;
        }
        let (mut open, mut shut) = (Vec::new(), Vec::new());
        if is_confined {
            let files = self.own_files(&program, at);
            let places = Places::of(if at == 0 { &program } else { &first }, &words);
            let closed = closed.found_in(&places.searched, &files);
            files.iter().take(2).try_for_each(|file| refuse_closed(file, &closed))?;
            (open, shut) = (places.open.into_iter().collect(), closed.into_iter().collect());
        }
        let launched = Launched { program: if at == 0 { program } else { first }, words, open, closed: shut };
        let command = ClientCommand {
            arguments: vec![LAUNCH.into()],
            inherits: true,
            environment: ONE_THREAD.to_vec(),
            ..launcher.clone()
        };
        Ok((command, launched))
    }

    /// Returns the files of the command, whose program is the word `at`: first that program and its script (for a
    /// module, this folder). Links are resolved, and then follow as such, since the interpreter of an environment is a
    /// link.
    fn own_files(&self, program: &Path, at: usize) -> Vec<PathBuf> {
        let split = |word: &String| shlex::split(word).unwrap_or_default();
        let words = self.words.iter().skip(at + 1);
        let module = words.clone().any(|word| word == "-m").then(|| PathBuf::from("."));
        let words = words.flat_map(|word| [vec![word.clone()], split(word)].concat());
        let named = words.map(PathBuf::from).filter(|path| path.is_file());
        let own: Vec<PathBuf> = [program.to_owned()].into_iter().chain(module).chain(named).collect();
        let as_link = |path: &PathBuf| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
        own.iter().filter_map(|path| path.canonicalize().ok()).chain(own.iter().filter_map(as_link)).collect()
    }

    /// Returns the program that a word names.
    fn program(&self, at: usize) -> Result<PathBuf> {
        let word = &self.words[at];
        find(word).ok_or_else(|| {
            let place = if word.contains('/') { "here" } else { "in PATH" };
            Error::Model(format!("there is no program {word} {place}, so that it cannot be started"))
        })
    }
}

/// Refuses a file of the command that the program could not read.
fn refuse_closed(file: &Path, closed: &BTreeSet<PathBuf>) -> Result<()> {
    match file.ancestors().find(|above| closed.contains(*above)) {
        None => Ok(()),
        Some(place) => Err(Error::Model(format!(
            "{} lies in {}, which holds data or a run and is closed to programs; move it elsewhere, or give --isolation off",
            file.display(),
            place.display()
        ))),
    }
}

fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    in_path(program)
}

#[cfg(test)]
mod tests {
    use fedpipe_record::identity::CodeIdentity;

    use super::*;
    use crate::disk::test_files::write_file;

    fn refusal(command: &str) -> String {
        UserProgram::parse("--client", command).unwrap_err().to_string()
    }

    #[test]
    fn words_are_those_of_a_shell() {
        let words = UserProgram::parse("--client", "python3 'my client.py' --a \"b c\"").unwrap().words;
        assert_eq!(words, ["python3", "my client.py", "--a", "b c"]);
        assert!(refusal("").contains("--client is empty"));
        assert!(refusal("python3 'x").contains("python3 'x"));
    }

    #[test]
    fn a_run_is_called_after_the_script_or_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let name = |file: &str| {
            let path = write_file(&dir.path().join(file), "");
            UserProgram::parse("--client", &format!("python3 -u {}", path.display())).unwrap().name()
        };
        assert_eq!((name("keras/client.py"), name("keras/softmax.py")), ("keras".into(), "softmax".into()));
        assert_eq!(UserProgram::parse("--client", "./build/mine --fast").unwrap().name(), "mine");
    }

    #[test]
    fn files_are_known_by_their_contents() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("a.py");
        fs::write(&script, "1").unwrap();
        let program = UserProgram::parse("--client", &format!("sh {} --lr 1", script.display())).unwrap();
        let before = program.files();
        let changes = |before: &Files, client_sha256| {
            let recorded = CodeIdentity { client_sha256: before.clone(), ..CodeIdentity::default() };
            recorded.changes(&CodeIdentity { client_sha256, ..CodeIdentity::default() })
        };
        assert_eq!(before.keys().collect::<Vec<_>>(), [script.to_str().unwrap()]);
        assert!(changes(&before, program.files()).is_empty());
        fs::write(&script, "2").unwrap();
        assert!(changes(&before, program.files())[0].contains("a.py is "));
        fs::remove_file(&script).unwrap();
        assert!(changes(&before, program.files())[0].starts_with("there is no file "));
    }

    #[test]
    fn a_program_without_a_folder_is_found_in_path() {
        let program = |text| UserProgram::parse("--client", text).unwrap().program(0);
        assert!(program("sh -c true").unwrap().ends_with("sh"));
        assert!(program("nonesuch").unwrap_err().to_string().contains("no program nonesuch in PATH"));
        assert!(program("./nonesuch").unwrap_err().to_string().contains("no program ./nonesuch here"));
    }
}
