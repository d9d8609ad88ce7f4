//! Many flows of packets, merged in time order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Packets in time order: microseconds since the flow's beginning, and an IP packet.
pub type Flow = Box<dyn Iterator<Item = (u64, Vec<u8>)>>;

/// Runs `at_once` flows side by side; where one ends, the next one begins.
pub struct Merge<F> {
    next_flow: F,
    running: Vec<Option<Running>>,
    /// Time of the next packet and the place in `running`.
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

struct Running {
    begin: u64,
    next: Vec<u8>,
    rest: Flow,
}

impl<F: FnMut() -> Option<Flow>> Merge<F> {
    /// Begins the first flows, `apart` microseconds one from the other.
    pub fn new(next_flow: F, at_once: usize, apart: u64) -> Merge<F> {
        let mut merge = Merge {
            next_flow,
            running: Vec::new(),
            due: BinaryHeap::new(),
        };
        for place in 0..at_once {
            merge.running.push(None);
            merge.begin(place, place as u64 * apart);
        }
        merge
    }

    fn begin(&mut self, place: usize, at: u64) {
        let Some(mut flow) = (self.next_flow)() else { return };
        if let Some((after, packet)) = flow.next() {
            self.due.push(Reverse((at + after, place)));
            self.running[place] = Some(Running {
                begin: at,
                next: packet,
                rest: flow,
            });
        }
    }
}

impl<F: FnMut() -> Option<Flow>> Iterator for Merge<F> {
    type Item = (u64, Vec<u8>);

    fn next(&mut self) -> Option<(u64, Vec<u8>)> {
        let Reverse((time, place)) = self.due.pop()?;
        let running = self.running[place].as_mut()?;
        let packet = match running.rest.next() {
            Some((after, following)) => {
                // A capture's own clock may have gone back; time here does not.
                self.due.push(Reverse(((running.begin + after).max(time), place)));
                std::mem::replace(&mut running.next, following)
            }
            None => {
                let last = std::mem::take(&mut running.next);
                self.running[place] = None;
                self.begin(place, time + 1000);
                last
            }
        };
        Some((time, packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_in_time_order_and_begins_the_next_flow() {
        let mut flows = vec![vec![0_u64, 5], vec![0, 1, 2], vec![0]].into_iter().enumerate();
        let next = || {
            let (name, times) = flows.next()?;
            Some(Box::new(times.into_iter().map(move |time| (time, vec![name as u8]))) as Flow)
        };
        let merged: Vec<_> = Merge::new(next, 2, 3).map(|(time, packet)| (time, packet[0])).collect();
        assert_eq!(merged, [(0, 0), (3, 1), (4, 1), (5, 0), (5, 1), (1005, 2)]);
    }
}
