//! The owner of a node id: two processes with one id would vote twice, and their records could not be
//! distinguished.
//!
//! ```text
//!   a new node:   CLAIM ──(5 s, no objection met)──► CONFIRM ──met──► holds the id
//!   its holder:   meets CLAIM of another ──► OBJECT
//!                 meets CONFIRM without its OBJECT before it ──► gives the id up and stops
//! ```
//!
//! Every decision follows from the order of the log, so all processes come to the same result: an objection
//! counts only if it is before the confirmation. A paused holder that wakes too late meets the confirmation
//! and stops. A node that has held its id before, with the same data directory, holds it from its claim on.

use ingest::ids::{NodeId, WriterId};
use ingest::record::ClaimStage;

/// The next action of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimStep {
    /// No action.
    Nothing,
    /// Append an objection to this process's claim.
    Object(WriterId),
    /// The id is this process's.
    Holds,
    /// The id belongs to another process: stop.
    GivesUp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
/// The state of this process's claim.
enum ClaimState {
    Claiming,
    Holding,
    Over,
}

/// The state of this process's claim to its id.
#[derive(Debug)]
pub struct NodeClaim {
    node: NodeId,
    process: WriterId,
    state: ClaimState,
    /// The claimant against which an objection of this process has been met.
    objected: Option<WriterId>,
}

impl NodeClaim {
    /// Begins a claim. With `held_before` the id belongs to this process from the start.
    pub fn new(node: NodeId, process: WriterId, held_before: bool) -> Self {
        let state = if held_before { ClaimState::Holding } else { ClaimState::Claiming };
        Self { node, process, state, objected: None }
    }

    /// Applies a record about a node's id and returns the next action. Must be called once for each such
    /// record, in the order of the log. Records about other ids have no effect.
    pub fn take(&mut self, node: NodeId, process: WriterId, stage: ClaimStage) -> ClaimStep {
        if node != self.node {
            return ClaimStep::Nothing;
        }
        let is_own = process == self.process;
        match (self.state, stage, is_own) {
            (ClaimState::Claiming, ClaimStage::Object, true)
            | (ClaimState::Holding, ClaimStage::Object, true) => {
                self.state = ClaimState::Over;
                ClaimStep::GivesUp
            }
            (ClaimState::Claiming, ClaimStage::Confirm, true) => {
                self.state = ClaimState::Holding;
                ClaimStep::Holds
            }
            (ClaimState::Holding, ClaimStage::Claim, false) => ClaimStep::Object(process),
            (ClaimState::Holding, ClaimStage::Object, false) => {
                self.objected = Some(process);
                ClaimStep::Nothing
            }
            (ClaimState::Holding, ClaimStage::Confirm, false) if self.objected != Some(process) => {
                self.state = ClaimState::Over;
                ClaimStep::GivesUp
            }
            // Another process was first.
            (ClaimState::Claiming, ClaimStage::Confirm, false) => {
                self.state = ClaimState::Over;
                ClaimStep::GivesUp
            }
            _ => ClaimStep::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::new(1);
    const OLD: WriterId = WriterId([1; 16]);
    const NEW: WriterId = WriterId([2; 16]);

    #[test]
    fn a_live_holder_keeps_its_id() {
        let mut holder = NodeClaim::new(NODE, OLD, true);
        let mut newcomer = NodeClaim::new(NODE, NEW, false);
        assert_eq!(newcomer.take(NODE, NEW, ClaimStage::Claim), ClaimStep::Nothing);
        assert_eq!(holder.take(NODE, NEW, ClaimStage::Claim), ClaimStep::Object(NEW));
        for claims in [&mut holder, &mut newcomer] {
            let step = claims.take(NODE, NEW, ClaimStage::Object);
            assert_eq!(step == ClaimStep::GivesUp, claims.process == NEW);
        }
        // A confirmation that comes too late changes nothing.
        assert_eq!(holder.take(NODE, NEW, ClaimStage::Confirm), ClaimStep::Nothing);
    }

    #[test]
    fn a_holder_that_slept_through_the_claim_stops() {
        let mut holder = NodeClaim::new(NODE, OLD, true);
        let mut newcomer = NodeClaim::new(NODE, NEW, false);
        newcomer.take(NODE, NEW, ClaimStage::Claim);
        assert_eq!(newcomer.take(NODE, NEW, ClaimStage::Confirm), ClaimStep::Holds);
        // It wakes, objects, and then meets the confirmation, which stands before its objection.
        assert_eq!(holder.take(NODE, NEW, ClaimStage::Claim), ClaimStep::Object(NEW));
        assert_eq!(holder.take(NODE, NEW, ClaimStage::Confirm), ClaimStep::GivesUp);
    }

    #[test]
    fn other_nodes_do_not_matter() {
        let mut holder = NodeClaim::new(NODE, OLD, true);
        assert_eq!(holder.take(NodeId::new(2), NEW, ClaimStage::Confirm), ClaimStep::Nothing);
    }
}
