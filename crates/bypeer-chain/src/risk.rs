//! What a wrong order costs: the share of requests that meet a close.
//!
//! The model. Requests come over each pooled connection as a Poisson process of rate λ, so that the idle time g before the next
//! one is exponential: P(g > t) = e^(−λt). The acceptor closes a connection that has been idle for u; where it sweeps, u is uniform
//! between its earliest and its latest. From u − w to u, on the opener's clock, a request and the close cross: the request was
//! sent before the opener could know, and arrives after the acceptor decided. w is one round trip (half of it because the acceptor's
//! idle time begins and ends half a round trip before the opener's, half because its FIN travels as long) and what the acceptor
//! needs from its decision to its close. An opener that looks for a FIN before it uses a connection again is caught in this window
//! alone; one that does not is caught until its own pool's limit p. So a request that follows another is lost with the chance
//!
//! ```text
//! q = mean over u of  e^(−λ(u−w)) − e^(−λe),   e = min(u, p) if it looks, else p;  none where e <= u − w
//! ```
//!
//! The one after a lost request finds no connection and opens one, so that q/(1 + q) of all requests are lost. For an opener that
//! looks, u fixed and p beyond it, q is e^(−λu)·(e^(λw) − 1): about w/(e·u) at worst, where one request comes in each u. Traffic in bursts after pauses is no Poisson process, and can be much worse: many requests at once meet connections
//! that all became idle at once.

use std::time::Duration;

use crate::hop::Limit;

/// Where a round trip is not known: that within one data centre.
pub(crate) const USUAL_ROUND_TRIP: Duration = Duration::from_millis(1);
/// From the decision to close to the close, and from a FIN's arrival to its being seen.
pub(crate) const CLOSING: Duration = Duration::from_micros(200);

/// Steps of the mean over u.
const STEPS: u32 = 200;

/// What a pair in the wrong order costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Risk {
    /// So long before the close is known to the opener, a request is lost.
    pub window: Duration,
    /// The opener sees a close before it uses a connection again; otherwise every reuse after it is lost.
    pub checks: bool,
    /// Requests a second on each connection, if a rate was given.
    pub rate: Option<f64>,
    /// Share of requests lost at that rate, 0 to 1.
    pub share: Option<f64>,
    /// The largest share at any rate.
    pub worst_share: f64,
    /// The rate on each connection at which it is largest, a second.
    pub worst_rate: f64,
}

impl Risk {
    /// Of an opener that keeps connections for `pool` and an acceptor that keeps them for `idle`. `None`: the acceptor never closes
    /// first.
    pub(crate) fn of(pool: Limit, idle: Limit, round_trip: Duration, checks: bool, rate: Option<f64>) -> Option<Risk> {
        let Limit::After { earliest, latest } = idle else {
            return None;
        };
        let pool = match pool {
            Limit::After { latest, .. } => latest.as_secs_f64(),
            Limit::Never => f64::INFINITY,
            Limit::AtOnce => return None,
        };
        let window = round_trip + CLOSING;
        let race = Race {
            earliest: earliest.as_secs_f64(),
            latest: latest.as_secs_f64(),
            pool,
            window: window.as_secs_f64(),
            checks,
        };
        if pool <= race.earliest - race.window {
            return None;
        }
        let (worst_share, worst_rate) = race.worst();
        Some(Risk {
            window,
            checks,
            rate,
            share: rate.map(|rate| race.share(rate)),
            worst_share,
            worst_rate,
        })
    }
}

/// Seconds.
#[derive(Clone, Copy, Debug)]
struct Race {
    earliest: f64,
    latest: f64,
    pool: f64,
    window: f64,
    checks: bool,
}

impl Race {
    /// Share of requests lost at a rate on each connection.
    fn share(&self, rate: f64) -> f64 {
        if !(rate > 0.0 && rate.is_finite()) {
            return 0.0;
        }
        let sum: f64 = (0..STEPS)
            .map(|step| {
                let part = (f64::from(step) + 0.5) / f64::from(STEPS);
                let close = self.earliest + (self.latest - self.earliest) * part;
                let begin = (close - self.window).max(0.0);
                let end = if self.checks { close.min(self.pool) } else { self.pool };
                if end <= begin {
                    return 0.0;
                }
                (-rate * begin).exp() * -(-rate * (end - begin)).exp_m1()
            })
            .sum();
        let chance = sum / f64::from(STEPS);
        chance / (1.0 + chance)
    }

    /// The largest share and its rate, by trying rates a twentieth apart.
    fn worst(&self) -> (f64, f64) {
        let around = 1.0 / self.latest.max(1e-3);
        (-100..=100)
            .map(|step| around * 1.05f64.powi(step))
            .map(|rate| (self.share(rate), rate))
            .fold((0.0, around), |best, next| if next.0 > best.0 { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `bypeer lab run idle-timeout-traffic --rounds 20`, with and without `--fixes distance,blind-pool`: Linux 6.18, 5000 requests each.
    #[test]
    fn the_formula_is_what_was_measured_on_real_connections() {
        for (round_trip, checks, lost) in [(6, true, 74.0), (30, true, 380.0), (6, false, 949.0)] {
            let idle = Limit::exactly(Duration::from_millis(150));
            let risk = Risk::of(
                Limit::Never,
                idle,
                Duration::from_millis(round_trip),
                checks,
                Some(10.0),
            );
            let expected = risk.and_then(|risk| risk.share).unwrap_or_default() * 5000.0;
            // Two standard deviations.
            assert!(
                (lost - expected).abs() < 2.0 * expected.sqrt(),
                "{round_trip} ms: {lost} measured, {expected:.0} expected"
            );
        }
    }

    /// The oracle: two ends with clocks half a round trip apart, requests by the dice, closes as they come.
    struct Simulation {
        race: Race,
        rate: f64,
        seed: u64,
    }

    impl Simulation {
        /// Uniform in (0, 1).
        fn dice(&mut self) -> f64 {
            // splitmix64
            self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + 1e-18
        }

        /// Of so many requests, those lost.
        fn run(&mut self, requests: u32) -> u32 {
            let half = self.race.window / 2.0;
            let mut lost = 0;
            // After a lost request there is no connection.
            let mut is_open = false;
            // When the acceptor had written its last response, on one clock for both.
            let mut answered = 0.0;
            for _ in 0..requests {
                let close = {
                    let dice = self.dice();
                    self.race.earliest + (self.race.latest - self.race.earliest) * dice
                };
                let opener_idle_since = answered + half;
                let gap = -self.dice().ln() / self.rate;
                let sent = opener_idle_since + gap;
                let arrives = sent + half;
                let closes = answered + close;
                let fin_seen = closes + half;
                let in_pool = gap < self.race.pool;
                let reused = is_open && in_pool && (!self.race.checks || sent < fin_seen);
                let is_lost = reused && arrives > closes;
                lost += u32::from(is_lost);
                is_open = !is_lost;
                // On this connection or on a new one, it is answered at once.
                answered = arrives;
            }
            lost
        }
    }

    #[test]
    fn the_formula_is_what_a_simulation_gives() {
        let races = [
            // A sweep, a fixed limit, a pool that ends within the window, one that never looks.
            Race {
                earliest: 2.0,
                latest: 3.0,
                pool: 60.0,
                window: 0.05,
                checks: true,
            },
            Race {
                earliest: 5.0,
                latest: 5.0,
                pool: f64::INFINITY,
                window: 0.2,
                checks: true,
            },
            Race {
                earliest: 5.0,
                latest: 5.0,
                pool: 4.9,
                window: 0.2,
                checks: true,
            },
            Race {
                earliest: 5.0,
                latest: 6.0,
                pool: 5.5,
                window: 0.1,
                checks: true,
            },
            Race {
                earliest: 5.0,
                latest: 5.0,
                pool: 90.0,
                window: 0.01,
                checks: false,
            },
            Race {
                earliest: 2.0,
                latest: 3.0,
                pool: 2.5,
                window: 0.01,
                checks: false,
            },
        ];
        let requests = 400_000;
        for (index, race) in races.into_iter().enumerate() {
            for rate in [0.05, 0.2, 0.5, 2.0] {
                let seed = 7 + index as u64;
                let mut simulation = Simulation { race, rate, seed };
                let lost = f64::from(simulation.run(requests));
                let expected = race.share(rate) * f64::from(requests);
                // Five standard deviations, and one event.
                let allowed = 5.0 * expected.sqrt() + 1.0;
                assert!(
                    (lost - expected).abs() <= allowed,
                    "{race:?} at {rate}, seed {seed}: {lost} lost, {expected:.1} expected"
                );
            }
        }
    }

    #[test]
    fn a_short_window_costs_at_worst_its_part_of_the_limit() {
        let race = Race {
            earliest: 5.0,
            latest: 5.0,
            pool: 60.0,
            window: 0.001,
            checks: true,
        };
        let (share, rate) = race.worst();
        let expected = 0.001 / (5.0 * std::f64::consts::E);
        assert!((share / expected - 1.0).abs() < 0.01, "{share} {expected}");
        assert!((rate * 5.0 - 1.0).abs() < 0.06, "{rate}");
        assert_eq!(race.share(0.0), 0.0);
        assert_eq!(race.share(f64::NAN), 0.0);
    }

    #[test]
    fn an_opener_that_gives_up_first_loses_nothing() {
        let seconds = |number| Limit::exactly(Duration::from_secs(number));
        let risk = |pool, idle| Risk::of(pool, idle, Duration::from_millis(1), true, Some(1.0));
        assert_eq!(risk(seconds(4), seconds(5)), None);
        assert_eq!(risk(Limit::AtOnce, seconds(5)), None);
        assert_eq!(risk(seconds(4), Limit::Never), None);
        assert!(risk(Limit::Never, seconds(5)).is_some());
    }
}
