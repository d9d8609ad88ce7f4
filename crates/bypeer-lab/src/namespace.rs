//! A network namespace that lives as long as somebody holds it.

use std::fs::File;
use std::io;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace without a name: the kernel removes it, its interfaces and its connections when the last process in
/// it has ended and this handle is dropped. Nothing is left after a crash.
#[derive(Debug)]
pub struct Namespace {
    handle: File,
}

impl Namespace {
    /// Makes one. Needs CAP_SYS_ADMIN in the current user namespace.
    pub fn new() -> io::Result<Namespace> {
        let handle = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        })?;
        Ok(Namespace { handle })
    }

    /// Runs `work` in a thread that has entered the namespace. Sockets opened and processes started in it belong to the
    /// namespace, wherever they are used later.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_thread(|| {
            setns(&self.handle, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }

    /// The namespace's file, for what refers to namespaces by descriptor.
    pub(crate) fn file(&self) -> &File {
        &self.handle
    }
}

/// Entering a namespace changes the thread for good; so the thread ends with the work.
fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
