//! Requests to a run from outside: a stop, and a reload of the model.
//!
//! A request is a flag that stays raised. A stop also wakes all that wait at the moment: the inbox of a fleet, the
//! connection to a strategy program, the socket of a node.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

use crate::process::wakeup::Wakeup;

/// The run's end of the requests. It is created before the run, so that a stop can be requested at any time.
#[derive(Debug, Default)]
pub struct Control {
    pub(crate) stop: Arc<StopSign>,
    flags: Arc<Flags>,
}

/// Sends requests to a run; may be given to another thread.
#[derive(Debug, Clone)]
pub struct Handle {
    stop: Arc<StopSign>,
    flags: Arc<Flags>,
}

#[derive(Debug, Default)]
struct Flags {
    /// A reload was requested and has not been taken.
    reload: AtomicBool,
    /// The run ends by itself after a stop.
    ends_itself: AtomicBool,
}

/// The request to stop.
#[derive(Debug, Default)]
pub(crate) struct StopSign {
    raised: AtomicBool,
    signal: AtomicI32,
    wakers: Mutex<Vec<Weak<dyn Wake>>>,
}

/// A wait that a stop ends.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

impl Wake for Wakeup {
    fn wake(&self) {
        self.dismiss();
    }
}

impl StopSign {
    /// Has a stop wake `waker`, at once if the stop was requested before.
    pub(crate) fn attach(&self, waker: &Arc<dyn Wake>) {
        let mut wakers = self.wakers();
        wakers.retain(|waker| waker.strong_count() > 0);
        wakers.push(Arc::downgrade(waker));
        // `raise` sets the flag before it takes the lock, so that one of the two wakes.
        if self.is_raised() {
            waker.wake();
        }
    }

    /// Returns a wake-up that a stop triggers.
    ///
    /// # Errors
    /// Returns the errors of the descriptor.
    pub(crate) fn wakeup(&self) -> io::Result<Arc<Wakeup>> {
        let wakeup = Arc::new(Wakeup::new()?);
        let waker: Arc<dyn Wake> = Arc::<Wakeup>::clone(&wakeup);
        self.attach(&waker);
        Ok(wakeup)
    }

    /// Returns the number that was given with the stop.
    pub(crate) fn signal(&self) -> i32 {
        self.signal.load(Ordering::SeqCst)
    }

    fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    fn raise(&self, signal: i32) {
        self.signal.store(signal, Ordering::SeqCst);
        self.raised.store(true, Ordering::SeqCst);
        self.wakers().iter().filter_map(Weak::upgrade).for_each(|waker| waker.wake());
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<Weak<dyn Wake>>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Returns a handle for another thread.
    pub fn handle(&self) -> Handle {
        Handle { stop: Arc::clone(&self.stop), flags: Arc::clone(&self.flags) }
    }

    /// Marks whether the run ends by itself after a stop. During its rounds and while it writes its results, it does. A
    /// download or a partitioning takes no notice of a stop.
    pub(crate) fn set_ends_itself(&self, ends_itself: bool) {
        self.flags.ends_itself.store(ends_itself, Ordering::SeqCst);
    }

    /// Returns `true` if a reload was requested since the last call.
    pub(crate) fn take_reload(&self) -> bool {
        self.flags.reload.swap(false, Ordering::SeqCst)
    }
}

impl Handle {
    /// Ends the run at once. The results of its last whole round are kept; the exit code follows from `signal`.
    pub fn stop(&self, signal: i32) {
        self.stop.raise(signal);
    }

    /// Returns `true` if the run ends by itself after a stop, with results for which the stop should wait.
    pub fn ends_itself(&self) -> bool {
        self.flags.ends_itself.load(Ordering::SeqCst)
    }

    /// Requests that the next round begins with the model's dylib as it is then at its source.
    pub fn reload(&self) {
        self.flags.reload.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_stop_wakes_what_waits_then_and_what_waits_later() {
        let control = Control::default();
        let [before, after, gone] = [(); 3].map(|()| Arc::new(Counter::default()));
        let attach = |counter: &Arc<Counter>| {
            let waker: Arc<dyn Wake> = Arc::<Counter>::clone(counter);
            control.stop.attach(&waker);
        };
        attach(&before);
        attach(&gone);
        drop(gone);
        let count = |counter: &Counter| counter.0.load(Ordering::SeqCst);
        assert_eq!(count(&before), 0);
        control.handle().stop(15);
        attach(&after);
        assert_eq!((count(&before), count(&after), control.stop.signal()), (1, 1, 15));
        assert_eq!(control.stop.wakers().len(), 2, "the waker that is gone is forgotten");
    }

    #[test]
    fn a_reload_is_taken_once() {
        let control = Control::default();
        assert!(!control.take_reload());
        control.handle().reload();
        control.handle().reload();
        assert!(control.take_reload());
        assert!(!control.take_reload());
    }
}
