//! The state that an algorithm keeps for each client, such as a control variate: one file a client in the run
//! directory's `state/`.
//!
//! A state is staged when the update is accepted, and visible from the next round on. The checkpoint names the file of
//! each client, so that a resume finds the states of its round. Files that no kept checkpoint names are removed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use fedpipe_record::{client_state::ClientFile, digest::clients_sha256, file::read_regular, names::STATE};
use fedpipe_strategy::slots::Slots;

use crate::{
    error::{Error, Result},
    run::saver::KEPT,
};

/// The states of all clients that have one.
#[derive(Debug)]
pub(super) struct ClientStore {
    folder: PathBuf,
    /// The slots of a state, each with the first round that could leave it. A forced change of the strategy gives up
    /// the other slots and older values.
    slots: BTreeMap<&'static str, u64>,
    files: BTreeMap<u32, ClientFile>,
    /// Files that a later round replaced, with that round.
    replaced: Vec<(u64, PathBuf)>,
    /// The rounds of the last checkpoints, the oldest first.
    checkpoints: Vec<u64>,
}

impl ClientStore {
    /// Returns the store of a run in `directory` without any state. A state has slots of these names.
    pub(super) fn new(directory: &Path, slots: impl IntoIterator<Item = &'static str>) -> Self {
        let folder = directory.join(STATE);
        let slots = slots.into_iter().map(|name| (name, 1)).collect();
        Self { folder, slots, files: BTreeMap::new(), replaced: Vec::new(), checkpoints: Vec::new() }
    }

    /// Returns the store after `round`, whose checkpoint names `files`. `since` returns the first round that could
    /// leave a slot; none for a slot that begins after `round`. Files of later rounds are removed.
    ///
    /// # Errors
    /// Returns [`Error::Output`] for a file that cannot be removed.
    pub(super) fn resumed_at(
        self,
        round: u64,
        files: Vec<ClientFile>,
        since: impl Fn(&str) -> Option<u64>,
    ) -> Result<Self> {
        let slots = self.slots.into_keys().map(|name| (name, since(name).unwrap_or(round + 1))).collect();
        let mut store = Self { slots, ..self };
        store.files = files.into_iter().map(|file| (file.client, file)).collect();
        store.checkpoints.push(round);
        let named: Vec<PathBuf> = store.files.values().map(|file| store.path(file)).collect();
        for path in store.list()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match ClientFile::round_of(&name) {
                Some(of) if of > round => remove(&path)?,
                // The checkpoint before may name it.
                Some(_) if !named.contains(&path) => store.replaced.push((round, path)),
                _ => {}
            }
        }
        Ok(store)
    }

    /// Returns the state of a client; empty for a client without one.
    ///
    /// # Errors
    /// Returns [`Error::Output`] for a file that is missing or was altered.
    pub(super) fn state_of(&self, client: u32) -> Result<Slots> {
        let Some(file) = self.files.get(&client) else { return Ok(Slots::default()) };
        let path = self.path(file);
        let contents = read_regular(&path).map_err(|error| Error::in_run("read", &path, &error))?;
        let state = file.read(&contents).map_err(|why| {
            Error::Output(format!("cannot use {}: {why}; --resume continues from an older checkpoint", path.display()))
        })?;
        let known = self.slots.iter().filter(|(_, since)| file.round >= **since).map(|(name, _)| *name);
        Ok(state.only(&known.collect::<Vec<_>>()))
    }

    /// Stores the states that a round changed, in client order; a client whose state became empty has none. Returns the
    /// SHA-256 of all; `None` if there are none.
    ///
    /// # Errors
    /// Returns [`Error::Output`] for a file that cannot be written.
    pub(super) fn commit(&mut self, round: u64, changed: &[(u32, &Slots)]) -> Result<Option<String>> {
        if changed.iter().any(|(_, state)| !state.is_empty()) {
            fs::create_dir_all(&self.folder).map_err(|error| Error::in_run("make", &self.folder, &error))?;
        }
        let mut files = Vec::with_capacity(changed.len());
        for (client, state) in changed {
            let (file, contents) = ClientFile::of(*client, round, state)?;
            if !state.is_empty() {
                let path = self.path(&file);
                // The saver syncs it before a checkpoint names it; a file that is torn has another hash.
                fs::write(&path, &contents).map_err(|error| Error::in_run("write", &path, &error))?;
            }
            files.push(file);
        }
        let sha256 = clients_sha256(&files);
        for (file, (client, state)) in files.into_iter().zip(changed) {
            let before = if state.is_empty() { self.files.remove(client) } else { self.files.insert(*client, file) };
            before.map_or(Ok(()), |before| self.replace(round, &before))?;
        }
        Ok(sha256)
    }

    /// Removes the file of a state that `round` replaced, unless a checkpoint may name it.
    fn replace(&mut self, round: u64, file: &ClientFile) -> Result<()> {
        let path = self.path(file);
        if self.checkpoints.last().is_none_or(|checkpoint| file.round > *checkpoint) {
            return remove(&path);
        }
        self.replaced.push((round, path));
        Ok(())
    }

    /// Returns the files of all states, by client, for the checkpoint of `round`. Removes those that no checkpoint
    /// names which is kept or may still be needed while this one is written.
    ///
    /// # Errors
    /// Returns [`Error::Output`] for a file that cannot be removed.
    pub(super) fn checkpoint(&mut self, round: u64) -> Result<Vec<ClientFile>> {
        self.checkpoints.push(round);
        // Besides this checkpoint, one may be in writing and one may wait. Those before them are the kept ones.
        self.keep_checkpoints(KEPT + 3)?;
        Ok(self.files.values().cloned().collect())
    }

    /// Removes the files that no kept checkpoint names, once all checkpoints are written.
    ///
    /// # Errors
    /// Returns [`Error::Output`] for a file that cannot be removed.
    pub(super) fn prune(&mut self) -> Result<()> {
        self.keep_checkpoints(KEPT)
    }

    /// Keeps the last `kept` checkpoints, and removes the files that only older checkpoints named.
    fn keep_checkpoints(&mut self, kept: usize) -> Result<()> {
        self.checkpoints.drain(..self.checkpoints.len().saturating_sub(kept));
        let Some(&oldest) = self.checkpoints.first().filter(|_| self.checkpoints.len() == kept) else { return Ok(()) };
        let (gone, needed) = std::mem::take(&mut self.replaced).into_iter().partition(|(at, _)| *at <= oldest);
        self.replaced = needed;
        Vec::into_iter(gone).try_for_each(|(_, path): (u64, PathBuf)| remove(&path))
    }

    fn path(&self, file: &ClientFile) -> PathBuf {
        self.folder.join(file.name())
    }

    /// Returns the paths in the folder; none if there is no folder.
    fn list(&self) -> Result<Vec<PathBuf>> {
        let failed = |error: io::Error| Error::in_run("read", &self.folder, &error);
        match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => {
                let entries = entries.map_err(failed)?;
                entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
            }
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::in_run("remove", path, &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, sync::Arc};

    use fedpipe_record::{
        checkpoint::{Checkpoint, Meta},
        line::Position,
    };
    use fedpipe_strategy::slots::Slot;

    use super::*;
    use crate::run::saver::Saver;

    fn state(value: f32) -> Slots {
        let mut slots = Slots::default();
        slots.set_vector("c", vec![value]);
        slots
    }

    fn empty_store(directory: &Path) -> ClientStore {
        ClientStore::new(directory, ["c", "g"])
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory.join(STATE)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_state_is_that_of_the_last_accepted_update() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = empty_store(directory.path());
        assert_eq!(store.state_of(3).unwrap(), Slots::default());
        assert_eq!(store.commit(1, &[]).unwrap(), None);
        let first = store.commit(1, &[(3, &state(1.0)), (5, &state(2.0))]).unwrap().unwrap();
        let second = store.commit(2, &[(3, &state(4.0))]).unwrap().unwrap();
        assert_ne!(first, second);
        assert_eq!([3, 5, 7].map(|client| store.state_of(client).unwrap()), [state(4.0), state(2.0), Slots::default()]);
    }

    #[test]
    fn files_are_kept_as_long_as_a_checkpoint_names_them() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = empty_store(directory.path());
        for round in 1..=6 {
            store.commit(round, &[(0, &state(round as f32))]).unwrap();
            store.checkpoint(round).unwrap();
        }
        // While those of the rounds 4 to 6 are not yet written, the checkpoints of the rounds 2 and 3 are kept.
        let kept = (2..=6).map(|round| format!("000000-{round:06}.safetensors"));
        assert_eq!(names(directory.path()), kept.collect::<Vec<_>>());
        store.prune().unwrap();
        assert_eq!(names(directory.path()), ["000000-000005.safetensors", "000000-000006.safetensors"]);
        // Of the rounds between two checkpoints only the last has a file.
        for round in 7..=10 {
            store.commit(round, &[(0, &state(round as f32))]).unwrap();
        }
        store.checkpoint(10).unwrap();
        store.prune().unwrap();
        assert_eq!(names(directory.path()), ["000000-000006.safetensors", "000000-000010.safetensors"]);
    }

    /// The checkpoint of round 3 cannot be synced until somebody opens the other end of a pipe. That of round 4 waits,
    /// and that of round 5 is about to: the disk has those of the rounds 1 and 2.
    #[test]
    fn the_states_of_each_checkpoint_on_disk_are_kept_while_the_queue_of_the_saver_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let (folder, mut store) = (directory.path(), empty_store(directory.path()));
        let mut saver = Saver::start(folder, tempfile::tempfile().unwrap(), Default::default()).unwrap();
        let pipe = folder.join(STATE).join("000000-000003.safetensors");
        for round in 1..=5 {
            store.commit(round, &[(0, &state(round as f32))]).unwrap();
            if round == 3 {
                fs::remove_file(&pipe).unwrap();
                assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            }
            let clients = store.checkpoint(round).unwrap();
            let meta = Meta { round, ledger: Position::default(), clients };
            let checkpoint =
                Checkpoint { meta, weights: Arc::new(vec![1.0]), server: Slots::default(), versions: BTreeMap::new() };
            if round < 5 {
                saver.save(checkpoint).unwrap();
            }
        }
        let kept = (1..=5).map(|round| format!("000000-{round:06}.safetensors"));
        assert_eq!(names(folder), kept.collect::<Vec<_>>());
        drop(fs::OpenOptions::new().write(true).open(&pipe).unwrap());
        saver.finish().unwrap();
    }

    #[test]
    fn a_state_that_became_empty_has_no_file_once_no_checkpoint_names_one() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, empty) = (empty_store(directory.path()), Slots::default());
        assert!(store.commit(1, &[(0, &empty)]).unwrap().is_some() && !directory.path().join(STATE).exists());
        store.commit(1, &[(0, &state(1.0)), (1, &state(1.5))]).unwrap();
        store.checkpoint(1).unwrap();
        let emptied = store.commit(2, &[(0, &empty)]).unwrap();
        assert_ne!(emptied, store.commit(2, &[]).unwrap());
        assert_eq!([0, 1].map(|client| store.state_of(client).unwrap()), [empty.clone(), state(1.5)]);
        assert_eq!(names(directory.path()).len(), 2, "the checkpoint of round 1 names the file");
        for round in 2..=4 {
            let named = store.checkpoint(round).unwrap();
            assert_eq!(named.iter().map(|file| file.client).collect::<Vec<_>>(), [1]);
        }
        store.prune().unwrap();
        assert_eq!(names(directory.path()), ["000001-000001.safetensors"]);
        // A state that no checkpoint names goes at once.
        store.commit(5, &[(0, &state(5.0))]).unwrap();
        store.commit(6, &[(0, &empty)]).unwrap();
        assert_eq!(names(directory.path()), ["000001-000001.safetensors"]);
    }

    #[test]
    fn a_resume_has_the_states_of_its_checkpoint_and_drops_later_ones() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = empty_store(directory.path());
        store.commit(1, &[(0, &state(1.0)), (1, &state(1.5))]).unwrap();
        store.checkpoint(1).unwrap();
        store.commit(2, &[(0, &state(2.0))]).unwrap();
        let files = store.checkpoint(2).unwrap();
        store.commit(3, &[(0, &state(3.0)), (2, &state(3.5))]).unwrap();
        let mut resumed = empty_store(directory.path()).resumed_at(2, files, |_| Some(1)).unwrap();
        assert_eq!(
            [0, 1, 2].map(|client| resumed.state_of(client).unwrap()),
            [state(2.0), state(1.5), Slots::default()]
        );
        assert_eq!(names(directory.path()).len(), 3, "that of round 1 may be needed by the checkpoint before");
        for round in 3..=6 {
            resumed.checkpoint(round).unwrap();
        }
        assert_eq!(names(directory.path()), ["000000-000002.safetensors", "000001-000001.safetensors"]);
    }

    /// In round 2, another strategy begins to set c. The values that it finds are those of an earlier one.
    #[test]
    fn a_slot_that_an_earlier_strategy_left_is_not_visible() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = empty_store(directory.path());
        let left = Slots::from_iter(["c", "g", "h"].map(|name| (name, Slot::F32(Arc::new(vec![1.0])))));
        store.commit(1, &[(0, &left), (1, &left)]).unwrap();
        let files = store.checkpoint(1).unwrap();
        let mut resumed = store.resumed_at(1, files, |slot| (slot == "g").then_some(1)).unwrap();
        resumed.commit(2, &[(1, &left)]).unwrap();
        let visible = [0, 1].map(|client| resumed.state_of(client).unwrap());
        let names = visible.each_ref().map(|state| state.iter().map(|(name, _)| name).collect::<Vec<_>>());
        assert_eq!(names, [vec!["g"], vec!["c", "g"]]);
    }

    #[test]
    fn an_altered_file_is_the_hosts_own_failure() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = empty_store(directory.path());
        store.commit(1, &[(0, &state(1.0))]).unwrap();
        fs::write(directory.path().join(STATE).join("000000-000001.safetensors"), "x").unwrap();
        let error = store.state_of(0).unwrap_err();
        assert!(matches!(error, Error::Output(_)), "{error:?}");
        assert!(
            error.to_string().contains("was truncated or altered; --resume continues from an older checkpoint"),
            "{error}"
        );
    }
}
