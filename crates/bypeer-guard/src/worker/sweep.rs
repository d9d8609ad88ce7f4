//! The worker's clock, and the look at all its clients that is in place of their timers.

use std::rc::Rc;
use std::time::Duration;

use super::{Millis, Worker};
use crate::config::ClientLimits;

/// How often is looked, at most and at least.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);
/// A limit is kept to such a part of it.
const PART: u32 = 16;

/// Looks until the worker ends.
pub(super) async fn run(worker: Rc<Worker>) {
    let mut before = 0;
    loop {
        let settings = worker.settings();
        let limits = &settings.config.client;
        tokio::time::sleep(interval(limits)).await;
        let now = Millis::try_from(worker.began.elapsed().as_millis()).unwrap_or(Millis::MAX);
        // What happened since the last look was written down with its moment.
        let tick = now.saturating_sub(std::mem::replace(&mut before, now));
        worker.now.set(now);
        for client in &*worker.clients.borrow() {
            if let Some(order) = client.overdue(now, limits, tick) {
                client.order(order);
            }
        }
        let silence = Millis::try_from(limits.silence.as_millis())
            .unwrap_or(Millis::MAX)
            .saturating_add(tick);
        worker.bodies.borrow_mut().retain(|body| body.look(now, silence));
    }
}

fn interval(limits: &ClientLimits) -> Duration {
    let shortest = limits.idle.min(limits.head_time).min(limits.silence);
    (shortest / PART).clamp(SHORTEST, LONGEST)
}
