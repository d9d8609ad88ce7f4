//! Dice that fall the same way each time.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn of(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times)
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let index = self.between(0, all.len() as u64 - 1) as usize;
        &all[index]
    }

    /// The heavier ones more often.
    pub fn one_of_weighted<'a, T>(&mut self, all: &'a [T], weight: impl Fn(&T) -> u64) -> &'a T {
        let mut at = self.between(0, all.iter().map(&weight).sum::<u64>() - 1);
        for one in all {
            if at < weight(one) {
                return one;
            }
            at -= weight(one);
        }
        &all[0]
    }
}
