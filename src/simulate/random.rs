//! Dice that fall the same way for the same seed. Not for secrets.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Dice from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which must not be 0; the tiny unevenness of the remainder does not matter here.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_fleet() {
        let throw = |seed| [0; 4].map(|_: u64| Random::new(seed).below(1000));
        assert_eq!(throw(7), throw(7));
        let mut dice = Random::new(1);
        assert!((0..1000).map(|_| dice.below(6)).all(|it| it < 6));
    }
}
