//! Which part of a content a `Range` header asks for (spec/http.md §6.3). Numbers in, numbers out; it reads no file and
//! never fails: what is not understood is ignored, as RFC 7233 asks.

use crate::config::RangeSuffix;

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it: 200.
    Whole,
    /// From the first to the last byte, both included: 206.
    Bytes {
        /// Position of the first byte.
        first: u64,
        /// Position of the last byte.
        last: u64,
    },
    /// It begins behind the end: 416.
    Unsatisfiable,
}

impl Part {
    /// The part of `size` bytes that this header asks for. An empty content satisfies every wish: the seeds' agents always
    /// send `bytes=0-`. Several ranges are answered with the whole content.
    pub fn of(header: Option<&str>, size: u64, suffix: RangeSuffix) -> Part {
        let Some((start, end)) = header.and_then(single_range) else { return Part::Whole };
        if size == 0 {
            return Part::Whole;
        }
        let last_byte = size - 1;
        match (number(start), number(end)) {
            (Some(Number::Is(first)), Some(Number::Is(last))) if first > last => Part::Whole,
            (Some(Number::Is(first)), Some(_)) if first > last_byte => Part::Unsatisfiable,
            (Some(Number::Is(first)), Some(Number::Is(last))) => Part::Bytes { first, last: last.min(last_byte) },
            (Some(Number::Is(first)), Some(Number::Absent)) => Part::Bytes { first, last: last_byte },
            (Some(Number::Absent), Some(Number::Is(length))) => suffix_of(length, last_byte, suffix),
            _ => Part::Whole,
        }
    }

    /// Where the part starts and how many bytes it has.
    pub fn extent(self, size: u64) -> (u64, u64) {
        match self {
            Part::Whole => (0, size),
            Part::Bytes { first, last } => (first, last - first + 1),
            Part::Unsatisfiable => (0, 0),
        }
    }
}

/// `bytes=-100`: Flyve means the bytes from 0 to 100 and the seed says so; the RFC means the last 100.
fn suffix_of(length: u64, last_byte: u64, suffix: RangeSuffix) -> Part {
    match suffix {
        RangeSuffix::Flyve => Part::Bytes { first: 0, last: length.min(last_byte) },
        RangeSuffix::Rfc if length == 0 => Part::Unsatisfiable,
        RangeSuffix::Rfc => Part::Bytes { first: (last_byte + 1).saturating_sub(length), last: last_byte },
    }
}

/// The two sides of the only range of bytes in the header.
fn single_range(header: &str) -> Option<(&str, &str)> {
    let (unit, ranges) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return None;
    }
    ranges.trim().split_once('-')
}

enum Number {
    Absent,
    Is(u64),
}

/// Digits or nothing; a number too large for any file is the largest there is. `None`: something else.
fn number(text: &str) -> Option<Number> {
    if text.is_empty() {
        Some(Number::Absent)
    } else if text.bytes().all(|it| it.is_ascii_digit()) {
        Some(Number::Is(text.parse().unwrap_or(u64::MAX)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(first: u64, last: u64) -> Part {
        Part::Bytes { first, last }
    }

    #[test]
    fn the_table_of_the_specification_holds_row_by_row() {
        fn check(header: &str, size: u64, flyve: Part, rfc: Part) {
            assert_eq!(Part::of(Some(header), size, RangeSuffix::Flyve), flyve, "{header} of {size}, flyve");
            assert_eq!(Part::of(Some(header), size, RangeSuffix::Rfc), rfc, "{header} of {size}, rfc");
        }
        fn both(header: &str, size: u64, part: Part) {
            check(header, size, part, part);
        }
        assert_eq!(Part::of(None, 1000, RangeSuffix::Flyve), Part::Whole);
        both("bytes=0-", 1000, bytes(0, 999));
        both("bytes=10-100", 1000, bytes(10, 100));
        both("bytes=10-", 1000, bytes(10, 999));
        check("bytes=-100", 1000, bytes(0, 100), bytes(900, 999));
        check("bytes=-5000", 1000, bytes(0, 999), bytes(0, 999));
        check("bytes=-0", 1000, bytes(0, 0), Part::Unsatisfiable);
        both("bytes=10-5000", 1000, bytes(10, 999));
        both("bytes=1000-", 1000, Part::Unsatisfiable);
        both("bytes=5000-6000", 1000, Part::Unsatisfiable);
        both("bytes=100-10", 1000, Part::Whole);
        both("bytes=0-0", 1000, bytes(0, 0));
        both("bytes=999-999", 1000, bytes(999, 999));
        both("bytes=999-", 1000, bytes(999, 999));
        both("bytes=0-0", 1, bytes(0, 0));
        both("bytes=0-1,5-6", 1000, Part::Whole);
        both("items=0-1", 1000, Part::Whole);
    }

    #[test]
    fn what_makes_no_sense_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=+1-2",
            "bytes=1-+2",
            "bytes=--5",
            "bytes=1-2-3",
            "bytes=0x1-2",
            "bytes=1.5-2",
            "bytes 1-2",
            "=1-2",
            "bytes=٣-٤",
            "bytes=1 - 2",
        ] {
            assert_eq!(Part::of(Some(header), 1000, RangeSuffix::Flyve), Part::Whole, "{header}");
        }
        assert_eq!(Part::of(Some("BYTES = 1-2"), 1000, RangeSuffix::Flyve), bytes(1, 2), "the unit has no case");
    }

    #[test]
    fn numbers_beyond_all_files_are_the_end() {
        let huge = "9".repeat(1000);
        let part = |header: &str| Part::of(Some(header), 1000, RangeSuffix::Rfc);
        assert_eq!(part(&format!("bytes=5-{huge}")), bytes(5, 999));
        assert_eq!(part(&format!("bytes={huge}-")), Part::Unsatisfiable);
        assert_eq!(part(&format!("bytes=-{huge}")), bytes(0, 999));
        assert_eq!(Part::of(Some("bytes=0-"), u64::MAX, RangeSuffix::Flyve), bytes(0, u64::MAX - 1));
    }

    #[test]
    fn an_empty_content_satisfies_every_wish() {
        for header in ["bytes=0-", "bytes=0-0", "bytes=-5", "bytes=7-"] {
            assert_eq!(Part::of(Some(header), 0, RangeSuffix::Flyve), Part::Whole);
        }
    }

    fn suffixes() -> impl Strategy<Value = RangeSuffix> {
        prop_oneof![Just(RangeSuffix::Flyve), Just(RangeSuffix::Rfc)]
    }

    proptest! {
        #[test]
        fn a_part_lies_inside_the_content(header in "(bytes|items)?=?[0-9]{0,22}-?[0-9]{0,22}.{0,3}", size: u64, suffix in suffixes()) {
            match Part::of(Some(&header), size, suffix) {
                Part::Bytes { first, last } => {
                    prop_assert!(first <= last && last < size);
                    let (start, length) = Part::Bytes { first, last }.extent(size);
                    prop_assert!(start.checked_add(length).is_some_and(|end| end <= size));
                }
                part @ (Part::Whole | Part::Unsatisfiable) => prop_assert_eq!(part.extent(size).0, 0),
            }
        }

        #[test]
        fn any_text_is_survived(header in ".*", size: u64, suffix in suffixes()) {
            Part::of(Some(&header), size, suffix);
        }

        #[test]
        fn parts_that_follow_each_other_make_the_whole(size in 1..5000_u64, step in 1..700_u64, suffix in suffixes()) {
            let mut next = 0;
            while next < size {
                let wish = format!("bytes={next}-{}", next + step - 1);
                let (start, length) = Part::of(Some(&wish), size, suffix).extent(size);
                prop_assert_eq!(start, next);
                prop_assert!(length > 0);
                next += length;
            }
            prop_assert_eq!(next, size);
            prop_assert_eq!(Part::of(Some(&format!("bytes={size}-")), size, suffix), Part::Unsatisfiable);
        }
    }
}
