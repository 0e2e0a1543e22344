//! Records that the store writes about itself: cuts' digests, node ids, free space.

use super::part::RecordPart;
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::ids::{CutNumber, NodeId, WriterId};

/// Takes a cut's number off.
pub fn decode_cut(from: &mut Decoder) -> Result<CutNumber, DecodeError> {
    Ok(CutNumber::new(from.u64("cut number")?))
}

fn decode_node(from: &mut Decoder) -> Result<NodeId, DecodeError> {
    Ok(NodeId::new(from.u32("node")?))
}

/// The digest that a node computed of the log up to a cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutDigest {
    /// The node.
    pub node: NodeId,
    /// The last cut that the digest covers.
    pub cut: CutNumber,
    /// The digest of the logical content, chained over all cuts, whatever files the content lies in.
    pub digest: [u8; 32],
}

impl RecordPart for CutDigest {
    fn encode(&self, out: &mut Encoder) {
        out.u32(self.node.get()).u64(self.cut.get()).raw(&self.digest);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let (node, cut) = (decode_node(from)?, decode_cut(from)?);
        Ok(Self { node, cut, digest: from.array("digest")? })
    }
}

/// A step in deciding which process has a node's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClaimStage {
    /// The process wants the id.
    Claim,
    /// The process that has the id objects.
    Object,
    /// No process objected in time.
    Confirm,
}

/// Appends the body of a claim.
pub fn encode_claim(node: NodeId, process: WriterId, stage: ClaimStage, out: &mut Encoder) {
    let stage = match stage {
        ClaimStage::Claim => 0,
        ClaimStage::Object => 1,
        ClaimStage::Confirm => 2,
    };
    out.u32(node.get()).raw(&process.0).u8(stage);
}

/// Takes the body of a claim off. Fails for an unknown stage.
pub fn decode_claim(from: &mut Decoder) -> Result<(NodeId, WriterId, ClaimStage), DecodeError> {
    let node = decode_node(from)?;
    let process = WriterId(from.array("process")?);
    let error = from.error("stage of a claim");
    let stage = match from.u8("stage of a claim")? {
        0 => ClaimStage::Claim,
        1 => ClaimStage::Object,
        2 => ClaimStage::Confirm,
        _ => return Err(error),
    };
    Ok((node, process, stage))
}

/// The free space of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomReport {
    /// The node.
    pub node: NodeId,
    /// Bytes of the node's device that payload may still take, when this was appended.
    pub bytes: u64,
}

impl RecordPart for RoomReport {
    fn encode(&self, out: &mut Encoder) {
        out.u32(self.node.get()).u64(self.bytes);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self { node: decode_node(from)?, bytes: from.u64("room")? })
    }
}
