//! A run trains on the data that it names, whatever the sizes and times of files are.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
};

use fedpipe_data::Dealt;
use serde_json::{Value, json};

use crate::{
    common::{Place, sha256, stderr},
    idx,
};

/// Replaces a file by one with other bytes and the same time, as an archive with fixed times does.
fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    let time = path.metadata().unwrap().modified().unwrap();
    File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn other_files_of_the_same_sizes_and_times_are_another_dataset() {
    let place = Place::new();
    let data = place.path("set");
    idx::write(&data);
    let run = |out| place.run(&format!("misbehaving --data ./set --clients 2 --rounds 1 --out {out}"));
    let before = run("before");
    for (name, header) in [(idx::FILES[0], 16), (idx::FILES[1], 8)] {
        let mut bytes = fs::read(data.join(name)).unwrap();
        bytes[header..].reverse();
        replace(&data.join(name), &bytes);
    }
    let identity = |name: &str| sha256(&fs::read(data.join(name)).unwrap());
    let lines = idx::FILES.map(|name| format!("{}  {name}\n", identity(name))).concat();
    let after = run("after");
    let [before, after] = [before, after].map(|run| run.ledger("dealt")[0]["dataset"]["sha256"].clone());
    assert_eq!(after, sha256(lines.as_bytes()));
    assert_ne!(before, after);
}

/// The arguments of a run of `misbehaving` on the sample, with a client a process.
const RUN: &str = "misbehaving --clients 2 --rounds 1";

/// Returns a place in which the sample was dealt to two clients.
fn dealt() -> (Place, Dealt) {
    let place = Place::new();
    place.run(&format!("{RUN} --out before"));
    let dealt = place.dealt_before(2, 0);
    (place, dealt)
}

/// Changes the last pixel of a partition file, and edits the list of its cache entry so that nothing seems changed.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    replace(path, &bytes);
    let list = path.with_file_name("entry.json");
    let mut entry: Value = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
    let metadata = path.metadata().unwrap();
    let files = entry["files"].as_array_mut().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let record = files.iter_mut().find(|record| record["name"] == name).unwrap();
    let stamp = &mut record["stamp"];
    stamp["modified"] = json!([metadata.mtime(), metadata.mtime_nsec()]);
    stamp["changed"] = json!([metadata.ctime(), metadata.ctime_nsec()]);
    stamp["inode"] = metadata.ino().into();
    fs::write(&list, entry.to_string()).unwrap();
}

fn names_the_damage(text: &str, file: &Path, sha256: &str) -> bool {
    let remedy = format!("delete the cache entry {} and run again", file.parent().unwrap().display());
    let damage = format!("{} has contents with SHA-256 ", file.display());
    text.contains(&damage) && text.contains(&format!(", the run's have {}: ", &sha256[..16])) && text.contains(&remedy)
}

#[test]
fn a_client_whose_partition_was_damaged_unseen_refuses_it_and_the_run_ends_with_code_4() {
    let (place, dealt) = dealt();
    let file = &dealt.partitions[1];
    damage(&file.path);
    let (output, _) = place.try_run(RUN);
    let text = stderr(&output);
    assert!(output.status.code() == Some(4) && names_the_damage(&text, &file.path, &file.sha256), "{text}");
    fs::remove_dir_all(file.path.parent().unwrap()).unwrap();
    place.run(&format!("{RUN} --out after"));
}

/// A process checks a partition when it first trains on it, so that partitions of clients that are not sampled cost
/// nothing.
#[test]
fn a_process_of_several_clients_loses_the_one_whose_partition_was_damaged_unseen() {
    let (place, dealt) = dealt();
    let file = &dealt.partitions[1];
    damage(&file.path);
    let run = place.run(&format!("{RUN} --processes 1"));
    let crashes = run.ledger("client_crashed");
    let names = |line: &Value| {
        let message = line["cause"]["message"].as_str().unwrap();
        line["client"] == 1 && line["cause"]["failure"] == "data" && names_the_damage(message, &file.path, &file.sha256)
    };
    assert!(!crashes.is_empty() && crashes.iter().all(names), "{crashes:?}");
    assert_eq!(run.ledger("round")[0]["clients"], 1);
}

#[test]
fn a_test_set_that_was_damaged_unseen_is_not_evaluated_on() {
    let (place, dealt) = dealt();
    damage(&dealt.test.path);
    let (output, _) = place.try_run(RUN);
    let text = stderr(&output);
    let is_named = names_the_damage(&text, &dealt.test.path, &dealt.test.sha256);
    assert!(output.status.code() == Some(4) && is_named, "{text}");
}
