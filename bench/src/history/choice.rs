//! Chooses the next operation of a client.
//!
//! Most operations use a few contended keys of each bucket: an answer can show that the store has no order
//! only where operations on one key overlap and follow each other closely. The others use a wider set of
//! keys, so that listings have several pages.

use super::dice::Dice;

/// The prefix of contended keys.
const CONTENDED: &str = "hot/";
/// The prefix of all other keys.
const WIDE: &str = "wide/";
/// The percentage of operations on contended keys.
const CONTENDED_PERCENT: u64 = 70;

/// The sizes in bytes of small values, which the log carries.
const SMALL_BYTES: std::ops::Range<u64> = 10..2000;
/// The sizes in bytes of values that are too large for the log.
const BULK_BYTES: std::ops::Range<u64> = (300 << 10)..(3 << 20);
/// The sizes in bytes of an upload's second and last part.
const LAST_PART_BYTES: std::ops::Range<u64> = 1..(200 << 10);
/// The page sizes in keys: one page or a few for a bucket, or many.
const PAGE_KEYS: [u32; 3] = [1000, 50, 12];

/// The place of an object.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ObjectPlace {
    /// The index of the bucket.
    pub bucket: usize,
    /// The key.
    pub key: String,
}

/// All places of a history.
#[derive(Clone, Debug)]
pub struct ObjectPlaces {
    /// The number of buckets.
    pub buckets: usize,
    /// The number of contended keys in each bucket.
    pub contended: u64,
    /// The number of other keys in each bucket.
    pub wide: u64,
}

impl ObjectPlaces {
    fn contended_key(number: u64) -> String {
        format!("{CONTENDED}{number:02}")
    }

    fn wide_key(number: u64) -> String {
        format!("{WIDE}{number:04}")
    }

    fn choose(&self, dice: &mut Dice) -> ObjectPlace {
        let bucket = dice.below(self.buckets as u64) as usize;
        let is_contended = self.wide == 0 || dice.chance(CONTENDED_PERCENT);
        let key = match is_contended {
            true => Self::contended_key(dice.below(self.contended)),
            false => Self::wide_key(dice.below(self.wide)),
        };
        ObjectPlace { bucket, key }
    }

    fn choose_prefix(&self, dice: &mut Dice) -> String {
        match dice.below(4) {
            0 => CONTENDED.into(),
            1 => WIDE.into(),
            // All wide keys that agree in the first three of their digits: ten, with up to 10,000 wide keys.
            2 => Self::wide_key(dice.below(self.wide))[..WIDE.len() + 3].into(),
            _ => String::new(),
        }
    }

    /// Returns every place, ordered by bucket; within a bucket contended keys come before the others.
    pub fn all(&self) -> Vec<ObjectPlace> {
        let keys = (0..self.contended).map(Self::contended_key);
        let keys: Vec<String> = keys.chain((0..self.wide).map(Self::wide_key)).collect();
        let places = |bucket| keys.iter().cloned().map(move |key| ObjectPlace { bucket, key });
        (0..self.buckets).flat_map(places).collect()
    }
}

/// An operation, or a few that belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OperationChoice {
    /// Reads an object.
    Get(ObjectPlace),
    /// Reads an object's headers only.
    Head(ObjectPlace),
    /// Writes an object of this many bytes.
    Put(ObjectPlace, u64),
    /// Writes an object of this many bytes, if there is none.
    PutIfAbsent(ObjectPlace, u64),
    /// Writes an object, if its ETag is the one that the client saw last.
    PutIfMatch {
        /// The place of the object.
        place: ObjectPlace,
        /// The size in bytes.
        bytes: u64,
        /// True if the client reads the ETag just before. Otherwise the condition mostly fails.
        looks_first: bool,
    },
    /// Deletes an object.
    Delete(ObjectPlace),
    /// Uploads an object of this many bytes in two parts.
    Upload(ObjectPlace, u64),
    /// Lists a bucket, page after page.
    List {
        /// The index of the bucket.
        bucket: usize,
        /// The prefix of the keys.
        prefix: String,
        /// The most keys on a page.
        max_keys: u32,
    },
}

impl OperationChoice {
    /// Chooses the next operation and its place.
    ///
    /// `has_room` is called only if the choice is a value that is not small. The call reserves the value's
    /// bytes, or returns false: then a small value is written instead, or an object is read instead of
    /// uploaded.
    pub fn next(
        dice: &mut Dice,
        places: &ObjectPlaces,
        has_room: &mut dyn FnMut(u64) -> bool,
    ) -> Self {
        let small = dice.within(SMALL_BYTES);
        let place = places.choose(dice);
        match dice.below(1000) {
            0..370 => OperationChoice::Get(place),
            370..440 => OperationChoice::Head(place),
            440..650 => OperationChoice::Put(place, small),
            650..750 => OperationChoice::PutIfAbsent(place, small),
            750..870 => {
                OperationChoice::PutIfMatch { place, bytes: small, looks_first: dice.chance(60) }
            }
            870..960 => OperationChoice::Delete(place),
            960..985 => OperationChoice::List {
                bucket: place.bucket,
                prefix: places.choose_prefix(dice),
                max_keys: *dice.one_of(&PAGE_KEYS),
            },
            985..995 => {
                let bytes = dice.within(BULK_BYTES);
                OperationChoice::Put(place, if has_room(bytes) { bytes } else { small })
            }
            _ => {
                let bytes = super::value::PART_BYTES as u64 + dice.within(LAST_PART_BYTES);
                if has_room(bytes) {
                    OperationChoice::Upload(place, bytes)
                } else {
                    OperationChoice::Get(place)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::mem::discriminant;

    use super::*;

    const PLACES: ObjectPlaces = ObjectPlaces { buckets: 2, contended: 3, wide: 40 };

    #[test]
    fn every_choice_and_every_place_comes_up() {
        let mut dice = Dice::new(1);
        let (mut kinds, mut places) = (HashMap::new(), HashSet::new());
        for _ in 0..20_000 {
            let choice = OperationChoice::next(&mut dice, &PLACES, &mut |_| true);
            *kinds.entry(discriminant(&choice)).or_insert(0) += 1;
            if let OperationChoice::Get(place) = choice {
                places.insert(place);
            }
        }
        assert_eq!(kinds.len(), 8);
        assert_eq!(places, PLACES.all().into_iter().collect());
    }

    #[test]
    fn without_room_everything_is_small() {
        let mut dice = Dice::new(2);
        for _ in 0..20_000 {
            match OperationChoice::next(&mut dice, &PLACES, &mut |_| false) {
                OperationChoice::Put(_, bytes) => assert!(bytes < SMALL_BYTES.end),
                OperationChoice::Upload(..) => panic!("an upload is not small"),
                _ => {}
            }
        }
    }

    #[test]
    fn prefixes_are_those_of_keys() {
        let mut dice = Dice::new(3);
        let keys: Vec<String> = PLACES.all().into_iter().map(|place| place.key).collect();
        for _ in 0..200 {
            let prefix = PLACES.choose_prefix(&mut dice);
            assert!(keys.iter().any(|key| key.starts_with(&prefix)), "{prefix}");
        }
    }
}
