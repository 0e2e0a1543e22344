//! The two places of payload: hot, and cold.
//!
//! All paths are below the data directory. Those of the cold place begin with the folder [`Place::FOLDER`], which may be
//! a link to a folder on another device; all others are of the hot place. A path therefore tells its place
//! ([`crate::env::FilePath::place`]), and so does the id of a bulk file ([`crate::ids::BulkId::place`]).

use std::ops::{Index, IndexMut};

/// A place for payload. Everything else (log, catalog, runs, headers of entries) is in the hot place only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Place {
    /// The data directory itself.
    #[default]
    Hot = 0,
    /// The folder `cold` in the data directory, for payload that is seldom read.
    Cold = 1,
}

impl Place {
    /// The folder of the cold place, directly below the data directory.
    pub const FOLDER: &'static str = "cold";

    /// Both places, in the order of their codes.
    pub const ALL: [Place; 2] = [Place::Hot, Place::Cold];

    /// Returns the place with a code, as files contain it; `None` for an unknown code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|place| *place as u8 == code)
    }

    /// Returns the name of the place for messages, metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Place::Hot => "hot",
            Place::Cold => "cold",
        }
    }
}

/// One value for each place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerPlace<T>([T; 2]);

impl<T> PerPlace<T> {
    /// Makes the value of each place, in the order of their codes.
    pub fn each(make: impl FnMut(Place) -> T) -> Self {
        Self(Place::ALL.map(make))
    }
}

impl<T> Index<Place> for PerPlace<T> {
    type Output = T;

    fn index(&self, place: Place) -> &T {
        &self.0[place as usize]
    }
}

impl<T> IndexMut<Place> for PerPlace<T> {
    fn index_mut(&mut self, place: Place) -> &mut T {
        &mut self.0[place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back() {
        for code in 0..=u8::MAX {
            assert_eq!(Place::from_code(code).map(|place| place as u8), (code < 2).then_some(code));
        }
    }
}
