//! The memory limit of a container (a control group) and the processes that the kernel killed at that limit.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root of the control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// Returns the least memory limit of this process's control groups, in bytes; none if there is no limit.
pub(crate) fn memory_limit() -> Option<u64> {
    limit_in(Path::new(ROOT), &own_groups())
}

/// Returns the number of processes of this control group that the kernel has killed for want of memory.
pub(crate) fn kills() -> u64 {
    kills_in(Path::new(ROOT), &own_groups())
}

fn own_groups() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// Returns the folders of the memory controller for the groups of `/proc/self/cgroup`, each followed by those above it.
fn folders(root: &Path, groups: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in groups.lines() {
        // 0::/a/b (version 2), 4:memory:/a/b (version 1).
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let top = match controllers {
            "" => root.to_owned(),
            _ if controllers.split(',').any(|name| name == "memory") => root.join("memory"),
            _ => continue,
        };
        let group = top.join(path.trim_start_matches('/'));
        found.extend(group.ancestors().take_while(|folder| folder.starts_with(&top)).map(Path::to_owned));
    }
    found
}

fn limit_in(root: &Path, groups: &str) -> Option<u64> {
    let limit = |folder: PathBuf| {
        let read = |name| fs::read_to_string(folder.join(name));
        let text = read("memory.max").or_else(|_| read("memory.limit_in_bytes")).ok()?;
        // Version 2 writes "max" for no limit, version 1 a number beyond any memory.
        text.trim().parse().ok()
    };
    folders(root, groups).into_iter().filter_map(limit).min()
}

fn kills_in(root: &Path, groups: &str) -> u64 {
    let kills = |folder: PathBuf| {
        let read = |name| fs::read_to_string(folder.join(name));
        let text = read("memory.events").or_else(|_| read("memory.oom_control")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
    };
    // The groups above count the same kills again.
    folders(root, groups).into_iter().find_map(kills).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::test_files::write_file;

    #[test]
    fn the_least_limit_of_the_groups_holds_for_the_process() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        let groups = "0::/slice/job\n";
        assert_eq!((limit_in(root, groups), kills_in(root, groups)), (None, 0));
        write_file(&root.join("slice/job/memory.max"), "max\n");
        assert_eq!(limit_in(root, groups), None);
        write_file(&root.join("slice/memory.max"), "314572800\n");
        assert_eq!(limit_in(root, groups), Some(300 << 20));
        write_file(&root.join("slice/job/memory.max"), "104857600\n");
        assert_eq!(limit_in(root, groups), Some(100 << 20));
        write_file(&root.join("slice/job/memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 0\n");
        assert_eq!(kills_in(root, groups), 2);
        // The limit of another group does not count.
        assert_eq!(limit_in(root, "0::/other\n"), None);
    }

    #[test]
    fn version_1_has_a_folder_for_memory() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        write_file(&root.join("memory/job/memory.limit_in_bytes"), "104857600\n");
        write_file(&root.join("memory/job/memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
        let groups = "5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n";
        assert_eq!((limit_in(root, groups), kills_in(root, groups)), (Some(100 << 20), 1));
    }
}
