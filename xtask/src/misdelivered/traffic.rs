//! A client of our own that does what is odd and legal.

mod answer;
mod deeds;
mod random;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use self::deeds::DEEDS;
pub use self::random::Random;
use super::servers::Site;

/// Clients at once.
const CLIENTS: u64 = 64;
/// How long it may take however slow the server is.
const LASTS: Duration = Duration::from_secs(60);

/// What is to be asked.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub server: SocketAddr,
    pub site: Site,
    pub requests: u64,
    /// For its dice.
    pub seed: u64,
}

/// How often what was done.
pub type Done = BTreeMap<&'static str, u64>;

/// Does it, and tells what. `midway` is called twice, while requests go on: after three, and after six tenths of them.
///
/// # Errors
/// Those of `midway`.
pub fn ask(order: Order, mut midway: impl FnMut(usize) -> Result<()>) -> Result<Done> {
    let sent = AtomicU64::new(0);
    let done = Mutex::new(Done::new());
    let end = Instant::now() + LASTS;
    let goes_on = || sent.load(Relaxed) < order.requests && Instant::now() < end;
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (sent, done, goes_on) = (&sent, &done, &goes_on);
            scope.spawn(move || {
                let mut random = Random::of(order.seed ^ client.wrapping_mul(0x9e37_79b9));
                let mut own = Done::new();
                while goes_on() {
                    let deed = DEEDS.iter().filter(|deed| (deed.fits)(&order.site)).collect::<Vec<_>>();
                    let deed = random.one_of_weighted(&deed, |deed| deed.weight);
                    let mut asker = deeds::Asker::new(order, client, &mut random, sent);
                    // A server that is being started again, a reset, a time-out: all of it may be.
                    if (deed.do_it)(&mut asker)
                        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
                    {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    *own.entry(deed.name).or_default() += 1;
                }
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                for (deed, times) in own {
                    *done.entry(deed).or_default() += times;
                }
            });
        }
        for (number, tenths) in [3, 6].into_iter().enumerate() {
            while goes_on() && sent.load(Relaxed) < order.requests * tenths / 10 {
                std::thread::sleep(Duration::from_millis(5));
            }
            if goes_on() {
                midway(number)?;
            }
        }
        anyhow::Ok(())
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}
