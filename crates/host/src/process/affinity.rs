//! The cores that a process runs on.

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// Keeps `process`, which has one thread, on `cores`. If a core is offline, the process stays where it is.
pub(crate) fn keep_on(cores: &CpuSet, process: Pid) {
    let _ = sched_setaffinity(process, cores);
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use nix::sched::sched_getaffinity;

    use super::*;

    /// A process that is killed at the end of the test.
    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_stays_on_the_cores_it_was_given() {
        let sleeper = Sleeper(Command::new("sleep").arg("600").spawn().unwrap());
        let process = Pid::from_raw(sleeper.0.id().cast_signed());
        let all = sched_getaffinity(Pid::this()).unwrap();
        let stays_on = |cores: &CpuSet| {
            keep_on(cores, process);
            sched_getaffinity(process).unwrap()
        };
        for core in (0..CpuSet::count()).filter(|&core| all.is_set(core).unwrap()) {
            let mut own = CpuSet::new();
            own.set(core).unwrap();
            assert_eq!(stays_on(&own), own);
            assert_eq!(stays_on(&CpuSet::new()), own);
        }
        assert_eq!(stays_on(&all), all);
    }
}
