//! How many connections may be open at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::connection::SLICE;
use crate::stop::Stop;

/// Lets so many through at once.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inside>);

/// Room for one connection, given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug)]
struct State {
    room: u32,
    open: u32,
    opened: u64,
}

impl Gate {
    /// With room for so many, at least one.
    pub fn of(room: u32) -> Gate {
        let state = State {
            room: room.max(1),
            open: 0,
            opened: 0,
        };
        Gate(Arc::new(Inside {
            state: Mutex::new(state),
            left: Condvar::new(),
        }))
    }

    /// Waits until there is room; `None` when the user asks to stop.
    pub fn enter(&self, stop: &Stop) -> Option<Permit> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if stop.is_set() {
                return None;
            }
            if state.open < state.room {
                state.open += 1;
                state.opened += 1;
                return Some(Permit(self.0.clone()));
            }
            state = self
                .0
                .left
                .wait_timeout(state, SLICE)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Changes the room.
    pub fn resize(&self, room: u32) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).room = room.max(1);
        self.0.left.notify_all();
    }

    /// Open now, and opened in all.
    pub fn counts(&self) -> (u32, u64) {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.open, state.opened)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).open -= 1;
        self.0.left.notify_one();
    }
}
