//! Spreads work over as many threads as the system allows.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

/// Calls `work` once for each of `parts`, on at most `threads` threads, including the calling one.
///
/// A thread that the system refuses (`ulimit -u`, a cgroup's pids.max) is no error: the other threads do its work. The
/// assignment of parts to threads is arbitrary, so no result may depend on it.
///
/// # Panics
/// Panics if `work` panics.
pub fn spread<T>(threads: usize, parts: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
    spread_on(&Builder::new, threads, parts, work);
}

/// Does the work of [`spread`] on threads that `builder` configures.
fn spread_on<T>(
    builder: &dyn Fn() -> Builder,
    threads: usize,
    parts: impl Iterator<Item = T> + Send,
    work: impl Fn(T) + Sync,
) {
    let parts = Mutex::new(parts);
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let help = || {
        while let Some(part) = next() {
            work(part);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // A system that refuses one thread would refuse the next.
            if builder().spawn_scoped(scope, help).is_err() {
                break;
            }
        }
        help();
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// Returns the builder of a thread that the system refuses, since its stack is larger than the address space.
    fn refused() -> Builder {
        Builder::new().stack_size(1 << 60)
    }

    /// Returns each part with the thread that did it.
    fn done(builder: &dyn Fn() -> Builder, threads: usize, wait: &(dyn Fn() + Sync)) -> Vec<(usize, thread::ThreadId)> {
        let done = Mutex::new(Vec::new());
        spread_on(builder, threads, 0..4, |part| {
            wait();
            done.lock().unwrap().push((part, thread::current().id()));
        });
        let mut done = done.into_inner().unwrap();
        done.sort_by_key(|(part, _)| *part);
        done
    }

    #[test]
    fn refused_threads_leave_all_work_to_the_caller() {
        assert_eq!(refused().spawn(|| ()).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        let here = thread::current().id();
        assert_eq!(done(&refused, 4, &|| ()), [0, 1, 2, 3].map(|part| (part, here)));
    }

    #[test]
    fn each_part_is_done_once_and_all_threads_work_at_once() {
        // Each thread waits until all four threads have a part.
        let all = Barrier::new(4);
        let done = done(&Builder::new, 4, &|| {
            all.wait();
        });
        assert_eq!(done.iter().map(|(part, _)| *part).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let mut threads: Vec<_> = done.iter().map(|(_, thread)| format!("{thread:?}")).collect();
        threads.sort();
        threads.dedup();
        assert_eq!(threads.len(), 4);
    }
}
