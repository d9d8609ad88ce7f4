//! The ring, read on a thread of its own: what is made of events may take long, and the kernel does not wait.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Ring;
use crate::event::Event;

/// Bytes of events that wait to be taken. Beyond them the ring is left to fill, where the kernel counts what finds no room.
const WAITING: usize = 64 << 20;
/// Beyond so many, stacks are let go: they are most of what events weigh.
const WAITING_WITH_STACKS: usize = 32 << 20;

/// A thread that empties the ring. Dropped, it ends.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    /// Has a byte while something waits.
    ready: PipeReader,
    /// Closed to end the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    stacks_left_out: u64,
    unreadable: u64,
    over: bool,
}

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// When there can be no thread or no pipe.
    pub fn start(ring: Ring) -> io::Result<Reader> {
        let (ready, to_be_taken) = io::pipe()?;
        let (stopped, stop) = io::pipe()?;
        let shared = Arc::new(Shared::default());
        let reading = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("ring".to_owned())
            .spawn(move || read(ring, &reading, &to_be_taken, &stopped))?;
        Ok(Reader {
            shared,
            ready,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What has come, without waiting.
    pub fn take(&mut self) -> VecDeque<Event> {
        let mut queue = self.shared.lock();
        if !queue.events.is_empty() {
            // Its byte was written under the same lock.
            let _ = self.ready.read(&mut [0]);
        }
        queue.bytes = 0;
        let events = mem::take(&mut queue.events);
        drop(queue);
        self.shared.room.notify_one();
        events
    }

    /// Stacks that were let go here, for want of room.
    pub fn stacks_left_out(&self) -> u64 {
        self.shared.lock().stacks_left_out
    }

    /// Records that could not be read: never, but for a fault of ours.
    pub fn unreadable(&self) -> u64 {
        self.shared.lock().unreadable
    }
}

/// Readable when there is something to [`take`](Reader::take).
impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.room.notify_one();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was told of where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when nobody takes any more.
    fn wait_for_room(&self) -> bool {
        let queue = self.lock();
        let full = |queue: &mut Queue| queue.bytes >= WAITING && !queue.over;
        let queue = self
            .room
            .wait_while(queue, full)
            .unwrap_or_else(PoisonError::into_inner);
        !queue.over
    }
}

fn read(mut ring: Ring, shared: &Shared, ready: &PipeWriter, stopped: &PipeReader) {
    while shared.wait_for_room() {
        let mut batch = Vec::new();
        ring.take(&mut |event| batch.push(event));
        if batch.is_empty() {
            let mut fds = [
                PollFd::new(ring.as_fd(), PollFlags::POLLIN),
                PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
            ];
            // Interrupted, it looks again.
            let _ = poll(&mut fds, PollTimeout::NONE);
            continue;
        }
        let mut queue = shared.lock();
        queue.unreadable = ring.unreadable();
        if queue.events.is_empty() {
            let mut ready = ready;
            // Nobody reads any more: the next look at the queue tells.
            let _ = ready.write_all(&[0]);
        }
        for event in batch {
            queue.push(event);
        }
    }
}

impl Queue {
    fn push(&mut self, mut event: Event) {
        let heavy = self.bytes > WAITING_WITH_STACKS;
        if let Some(stack) = event
            .user_stack
            .as_mut()
            .filter(|stack| heavy && !stack.bytes.is_empty())
        {
            stack.bytes = Vec::new();
            self.stacks_left_out += 1;
        }
        let stack = event.user_stack.as_ref().map_or(0, |stack| stack.bytes.len());
        self.bytes += size_of::<Event>() + stack + event.kernel_stack.len() * 8;
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::UserStack;

    #[test]
    fn what_waits_is_bounded() {
        let mut queue = Queue::default();
        let heavy = Event {
            user_stack: Some(UserStack {
                bytes: vec![0; 16384],
                ..UserStack::default()
            }),
            ..Event::default()
        };
        let mut with_stack = 0;
        while queue.bytes < WAITING {
            queue.push(heavy.clone());
            with_stack += usize::from(queue.stacks_left_out == 0);
        }
        // Then the ring is left to fill. Stacks stay with as many as fit into half of the room.
        assert!(with_stack <= WAITING_WITH_STACKS / 16384 + 1, "{with_stack}");
        assert_eq!(queue.stacks_left_out as usize, queue.events.len() - with_stack);
        let held: usize = queue
            .events
            .iter()
            .filter_map(|event| event.user_stack.as_ref())
            .map(|stack| stack.bytes.len())
            .sum();
        assert!(held <= WAITING_WITH_STACKS + 16384, "{held}");
    }
}
