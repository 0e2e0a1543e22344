//! Free space of the device: observed, reported to the other nodes, and compared with the reserve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ingest::env::{Fut, Task};

use super::context::PartitionContext;
use super::health::Health;
use super::nodes::NodeRegistry;

/// The interval at which free space is read, in addition to a read after every publication.
const SPACE_EVERY: Duration = Duration::from_secs(1);

/// The result of the last comparison of the device's free space with the reserve.
pub(crate) struct SpaceWatch {
    context: Arc<PartitionContext>,
    nodes: Arc<NodeRegistry>,
    is_short: AtomicBool,
}

impl SpaceWatch {
    /// Begins with a device that has enough space, until the first look.
    pub fn new(context: Arc<PartitionContext>, nodes: Arc<NodeRegistry>) -> Self {
        Self { context, nodes, is_short: AtomicBool::new(false) }
    }

    /// Returns true if less than the reserve is free, or the log is short of space: writes that make the
    /// store larger are refused. Does not ask the disk.
    pub fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed) || self.context.log.status(self.context.id).is_short
    }

    /// Reads the disk's free space, and reports the part above the reserve to other nodes. A device that
    /// does not give the number counts as having enough. Called after every publication, since flushes and
    /// merges change the space.
    pub async fn look(&self) {
        let reserve = self.context.options.reserve_bytes;
        let free = self.context.env.disk.free_bytes().await;
        if let Ok(free) = free {
            self.nodes.publish_room(free.saturating_sub(reserve));
        }
        let is_short = reserve > 0 && free.is_ok_and(|free| free < reserve);
        if self.is_short.swap(is_short, Ordering::Relaxed) != is_short {
            if is_short {
                tracing::warn!(reserve, "the device is nearly full: only deletes are taken");
            } else {
                tracing::info!("the device has room again");
            }
        }
    }

    /// Starts the task that reads the free space every second until the fold stops.
    pub fn start(self: &Arc<Self>, health: &Arc<Health>) -> Task {
        let (space, health) = (self.clone(), health.clone());
        let task: Fut<'static, ()> = Box::pin(async move {
            while !health.is_stopped() {
                space.context.env.clock.sleep(SPACE_EVERY).await;
                space.look().await;
            }
        });
        self.context.env.rt.spawn("space", task)
    }
}
