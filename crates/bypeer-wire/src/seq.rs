/// A TCP sequence number: 32 bits that wrap (RFC 9293 §3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// Signed distance from `base` to `self`, right for distances below 2^31.
    pub fn distance_from(self, base: Seq) -> i32 {
        self.0.wrapping_sub(base.0) as i32
    }

    /// The number `n` after this one.
    #[must_use]
    pub fn plus(self, n: u32) -> Seq {
        Seq(self.0.wrapping_add(n))
    }
}
