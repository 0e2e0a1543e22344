//! The table of record kinds: the number of each in the encoding, and the facts that hold for every record of
//! a kind.

/// The kind of a record. The discriminant is the number in the encoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum RecordKind {
    /// See [`super::RecordBody::OpenWriter`].
    OpenWriter = 1,
    /// See [`super::RecordBody::CreateBucket`].
    CreateBucket = 2,
    /// See [`super::RecordBody::DeleteBucket`].
    DeleteBucket = 3,
    /// See [`super::RecordBody::SetBucketConfig`].
    SetBucketConfig = 4,
    /// See [`super::RecordBody::PutObject`].
    PutObject = 5,
    /// See [`super::RecordBody::DeleteObject`].
    DeleteObject = 6,
    /// See [`super::RecordBody::SetTags`].
    SetTags = 7,
    /// See [`super::RecordBody::CreateUpload`].
    CreateUpload = 8,
    /// See [`super::RecordBody::PutPart`].
    PutPart = 9,
    /// See [`super::RecordBody::CompleteUpload`].
    CompleteUpload = 10,
    /// See [`super::RecordBody::AbortUpload`].
    AbortUpload = 11,
    /// See [`super::RecordBody::Cut`].
    Cut = 12,
    /// See [`super::RecordBody::Barrier`].
    Barrier = 13,
    /// See [`super::RecordBody::Data`].
    Data = 14,
    /// See [`super::RecordBody::Digest`].
    Digest = 15,
    /// See [`super::RecordBody::Claim`].
    Claim = 16,
    /// See [`super::RecordBody::Abandon`].
    Abandon = 17,
    /// See [`super::RecordBody::Room`].
    Room = 18,
    /// See [`super::RecordBody::EventCursor`].
    EventCursor = 19,
    /// See [`super::RecordBody::RenameObject`].
    RenameObject = 20,
}

/// The facts that hold for every record of a kind.
struct KindFacts {
    /// True when such a record makes the store larger.
    grows: bool,
    /// True when the writer numbers such records.
    is_numbered: bool,
}

/// A request that makes the store larger.
const GROWS: KindFacts = KindFacts { grows: true, is_numbered: true };
/// A request that makes nothing, or frees space.
const FREES: KindFacts = KindFacts { grows: false, is_numbered: true };
/// A record of the store's own that changes nothing, or that is recognised by its content.
const PLAIN: KindFacts = KindFacts { grows: false, is_numbered: false };
/// Payload, which its stream id and its index name.
const PAYLOAD: KindFacts = KindFacts { grows: true, is_numbered: false };

impl RecordKind {
    /// The highest number that a kind has.
    const LAST: u8 = Self::RenameObject as u8;

    /// The kinds in order of their numbers, which have no gaps.
    const ALL: [Self; Self::LAST as usize] = [
        Self::OpenWriter,
        Self::CreateBucket,
        Self::DeleteBucket,
        Self::SetBucketConfig,
        Self::PutObject,
        Self::DeleteObject,
        Self::SetTags,
        Self::CreateUpload,
        Self::PutPart,
        Self::CompleteUpload,
        Self::AbortUpload,
        Self::Cut,
        Self::Barrier,
        Self::Data,
        Self::Digest,
        Self::Claim,
        Self::Abandon,
        Self::Room,
        Self::EventCursor,
        Self::RenameObject,
    ];

    /// The number of the kind in the encoding.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The kind with a number; `None` for a number that this version does not know.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    fn facts(self) -> KindFacts {
        match self {
            Self::OpenWriter => PLAIN,
            Self::CreateBucket => GROWS,
            Self::DeleteBucket => FREES,
            Self::SetBucketConfig => FREES,
            Self::PutObject => GROWS,
            Self::DeleteObject => FREES,
            Self::SetTags => GROWS,
            Self::CreateUpload => GROWS,
            Self::PutPart => GROWS,
            Self::CompleteUpload => GROWS,
            Self::AbortUpload => FREES,
            Self::Cut => FREES,
            Self::Barrier => PLAIN,
            Self::Data => PAYLOAD,
            Self::Digest => PLAIN,
            Self::Claim => PLAIN,
            Self::Abandon => PLAIN,
            Self::Room => PLAIN,
            Self::EventCursor => FREES,
            Self::RenameObject => GROWS,
        }
    }

    /// True when records of the kind make the store larger.
    pub fn grows(self) -> bool {
        self.facts().grows
    }

    /// True when the writer numbers records of the kind.
    pub fn is_numbered(self) -> bool {
        self.facts().is_numbered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_number() {
        for (index, kind) in RecordKind::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(kind.number()), index + 1);
            assert_eq!(RecordKind::of_number(kind.number()), Some(kind));
        }
        for number in [0, RecordKind::LAST + 1, u8::MAX] {
            assert_eq!(RecordKind::of_number(number), None);
        }
    }
}
