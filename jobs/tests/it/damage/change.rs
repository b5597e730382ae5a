//! Random damage to the bytes of a file: flips, cuts, repeats, and pieces of other files.

/// Numbers that look random and follow from a seed (SplitMix64).
pub struct Random(u64);

impl Random {
    /// Another sequence for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 up to `limit`, without it; 0 when there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % limit.max(1) as u64).expect("smaller than a usize")
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A range of up to `longest` bytes of a file of `length` bytes.
    fn range(&mut self, length: usize, longest: usize) -> std::ops::Range<usize> {
        let start = self.place(length);
        start..(start + 1 + self.below(longest)).min(length)
    }

    /// A place in a file; half of them in its last quarter, where most formats say what is in the rest.
    fn place(&mut self, length: usize) -> usize {
        let start = if self.below(2) == 0 { 0 } else { length / 4 * 3 };
        start + self.below(length - start)
    }
}

/// Changes a file, and says how. `other` is a file of the same kind, from which pieces come.
pub fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> String {
    let length = bytes.len();
    match random.below(9) {
        0..=2 => {
            let flips = [1, 1, 1, 2, 8][random.below(5)];
            let places: Vec<(usize, usize)> = (0..flips).map(|_| (random.place(length), random.below(8))).collect();
            places.iter().for_each(|(place, bit)| bytes[*place] ^= 1 << bit);
            format!("bits flipped: {places:?}")
        }
        3 => {
            let end = random.below(length);
            bytes.truncate(end);
            format!("cut off after {end} of {length} bytes")
        }
        4 => {
            let range = random.range(length, 64);
            bytes.drain(range.clone());
            format!("without the bytes {range:?}")
        }
        5 => {
            let range = random.range(length, 64);
            let value = *random.one_of(&[0, 0xff, b' ']);
            bytes[range.clone()].fill(value);
            format!("{value} in the bytes {range:?}")
        }
        6 => {
            let range = random.range(length, 256);
            let again = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, again);
            format!("the bytes {range:?} twice")
        }
        7 => {
            // Pieces at the same place fit best: headers into headers, pages into pages.
            let range = random.range(length.min(other.len()), 256);
            bytes[range.clone()].copy_from_slice(&other[range.clone()]);
            format!("the bytes {range:?} of another file")
        }
        _ => {
            let end = random.below(length.min(other.len()));
            bytes.truncate(length - end);
            bytes.extend_from_slice(&other[other.len() - end..]);
            format!("the last {end} bytes of another file")
        }
    }
}

/// Parts of the changes that may be cut at, so that one file is not judged for minutes.
const CUTS_MAX: usize = 128;

/// The damaged file, then files with a part of the damage: readers that refuse a file for one change of it say nothing of what
/// another change did to its values.
pub fn parts(whole: &[u8], damaged: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![damaged.to_vec()];
    if whole.len() != damaged.len() {
        return parts;
    }
    let places: Vec<usize> = (0..whole.len()).filter(|place| whole[*place] != damaged[*place]).take(CUTS_MAX).collect();
    for place in &places {
        let mut alone = whole.to_vec();
        alone[*place] = damaged[*place];
        let (before, after) = (place + 1, *place);
        parts.extend([
            alone,
            [&damaged[..before], &whole[before..]].concat(),
            [&whole[..after], &damaged[after..]].concat(),
        ]);
    }
    parts
}
