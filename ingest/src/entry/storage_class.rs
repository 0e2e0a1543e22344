//! S3's storage classes, and the place of each.

use crate::place::Place;

/// The storage class of an object, kept and returned as the client set it. [`StorageClass::place`] tells where its payload
/// lies; objects of every class are read at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum StorageClass {
    /// The class of objects for which the client names none.
    #[default]
    Standard = 0,
    /// `REDUCED_REDUNDANCY`.
    ReducedRedundancy = 1,
    /// `STANDARD_IA`.
    StandardIa = 2,
    /// `ONEZONE_IA`.
    OneZoneIa = 3,
    /// `INTELLIGENT_TIERING`.
    IntelligentTiering = 4,
    /// `GLACIER_IR`.
    GlacierIr = 5,
    /// `GLACIER`.
    Glacier = 6,
    /// `DEEP_ARCHIVE`.
    DeepArchive = 7,
}

impl StorageClass {
    /// The header that sets the class of an object, under which the object's attributes keep a class other than
    /// `STANDARD`.
    pub const HEADER: &'static str = "x-amz-storage-class";

    /// All classes.
    pub const ALL: [StorageClass; 8] = [
        StorageClass::Standard,
        StorageClass::ReducedRedundancy,
        StorageClass::StandardIa,
        StorageClass::OneZoneIa,
        StorageClass::IntelligentTiering,
        StorageClass::GlacierIr,
        StorageClass::Glacier,
        StorageClass::DeepArchive,
    ];

    /// S3's name of the class, as headers and documents contain it; never empty.
    pub fn name(self) -> &'static str {
        match self {
            StorageClass::Standard => "STANDARD",
            StorageClass::ReducedRedundancy => "REDUCED_REDUNDANCY",
            StorageClass::StandardIa => "STANDARD_IA",
            StorageClass::OneZoneIa => "ONEZONE_IA",
            StorageClass::IntelligentTiering => "INTELLIGENT_TIERING",
            StorageClass::GlacierIr => "GLACIER_IR",
            StorageClass::Glacier => "GLACIER",
            StorageClass::DeepArchive => "DEEP_ARCHIVE",
        }
    }

    /// The place for the payload of the class: cold for `GLACIER_IR`, hot for all others.
    pub fn place(self) -> Place {
        match self {
            StorageClass::GlacierIr => Place::Cold,
            _ => Place::Hot,
        }
    }

    /// The class with a name of S3's; `None` for any other text, another case of letters included.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// The class with a number, as key indexes contain it; `None` for an unknown number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u8 == code)
    }
}
