//! Comparison of the nodes' folded state: each node publishes a digest for each cut, and a node whose
//! digest is in the minority quarantines itself.
//!
//! The fold is deterministic, so the digests of one cut are equal unless a copy is damaged or the code has
//! a bug. Two different digests do not show which one is right; the one on which more nodes agree is taken
//! for right.

use std::collections::BTreeMap;

use ingest::ids::{CutNumber, NodeId};
use ingest::record::CutDigest;

/// The number of cuts whose digests are remembered.
const CUTS: usize = 64;

/// The result of a comparison of one cut's digests, for this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DigestVerdict {
    /// All known digests equal this node's, or this node's is not known yet.
    Agrees,
    /// Some digests differ, and none of them is more frequent than this node's: an error exists, but its
    /// place is unknown.
    Split(Vec<NodeId>),
    /// Another digest is more frequent than this node's.
    Outvoted(Vec<NodeId>),
}

/// The digests of the last 64 cuts.
#[derive(Default, Debug)]
pub struct CutDigests {
    cuts: BTreeMap<CutNumber, DigestVotes>,
}

#[derive(Default, Debug)]
/// The digests of one cut.
struct DigestVotes {
    own: Option<[u8; 32]>,
    others: BTreeMap<NodeId, [u8; 32]>,
}

impl CutDigests {
    /// Adds another node's digest, and compares the cut's digests with this node's. The order of calls does
    /// not matter.
    pub fn take(&mut self, digest: &CutDigest) -> DigestVerdict {
        self.cuts.entry(digest.cut).or_default().others.insert(digest.node, digest.digest);
        self.forget();
        self.judge(digest.cut)
    }

    /// Adds this node's own digest, as computed by the flush, and compares it with the others'.
    pub fn own(&mut self, cut: CutNumber, digest: [u8; 32]) -> DigestVerdict {
        self.cuts.entry(cut).or_default().own = Some(digest);
        self.forget();
        self.judge(cut)
    }

    /// Forgets the oldest cuts, so that memory stays bounded.
    fn forget(&mut self) {
        while self.cuts.len() > CUTS {
            self.cuts.pop_first();
        }
    }

    /// Compares the digests of a cut. Needs this node's own digest, without which the result is agreement.
    fn judge(&self, cut: CutNumber) -> DigestVerdict {
        let Some(DigestVotes { own: Some(own), others }) = self.cuts.get(&cut) else {
            return DigestVerdict::Agrees;
        };
        let mut counts: BTreeMap<&[u8; 32], usize> = BTreeMap::from([(own, 1)]);
        others.values().for_each(|digest| *counts.entry(digest).or_default() += 1);
        let differing: Vec<NodeId> =
            others.iter().filter(|(_, digest)| *digest != own).map(|(node, _)| *node).collect();
        if differing.is_empty() {
            return DigestVerdict::Agrees;
        }
        let is_outvoted = counts.values().any(|count| *count > counts[own]);
        if is_outvoted {
            DigestVerdict::Outvoted(differing)
        } else {
            DigestVerdict::Split(differing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(node: u32, cut: u64, byte: u8) -> CutDigest {
        CutDigest { node: NodeId::new(node), cut: CutNumber::new(cut), digest: [byte; 32] }
    }

    #[test]
    fn a_node_is_outvoted_only_by_more_nodes_than_agree_with_it() {
        let mut digests = CutDigests::default();
        let cut = CutNumber::new(1);
        assert_eq!(
            digests.take(&digest(2, 1, 7)),
            DigestVerdict::Agrees,
            "its own is not known yet"
        );
        assert_eq!(digests.own(cut, [8; 32]), DigestVerdict::Split(vec![NodeId::new(2)]));
        let both = vec![NodeId::new(2), NodeId::new(3)];
        assert_eq!(digests.take(&digest(3, 1, 7)), DigestVerdict::Outvoted(both.clone()));
        assert_eq!(digests.take(&digest(4, 1, 8)), DigestVerdict::Split(both));
    }

    #[test]
    fn cuts_are_compared_with_themselves_only() {
        let mut digests = CutDigests::default();
        digests.own(CutNumber::new(1), [1; 32]);
        assert_eq!(digests.take(&digest(2, 2, 9)), DigestVerdict::Agrees);
        assert_eq!(digests.take(&digest(2, 1, 1)), DigestVerdict::Agrees);
    }
}
