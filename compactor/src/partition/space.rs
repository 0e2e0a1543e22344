//! Free space of the device: watched, published to the other nodes, and compared with the reserve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ingest::env::{Fut, Task};

use super::context::PartitionContext;
use super::health::Health;
use super::nodes::NodeRegistry;

/// How often free space is looked at, besides after every publication.
const SPACE_EVERY: Duration = Duration::from_secs(1);

/// Whether the device has less free space than the reserve, as last seen.
pub(crate) struct SpaceWatch {
    context: Arc<PartitionContext>,
    nodes: Arc<NodeRegistry>,
    is_short: AtomicBool,
}

impl SpaceWatch {
    /// Begins with a device that has enough.
    pub fn new(context: Arc<PartitionContext>, nodes: Arc<NodeRegistry>) -> Self {
        Self { context, nodes, is_short: AtomicBool::new(false) }
    }

    /// Tells that less than the reserve is free, or that the log is short of room: writes that make the store
    /// larger are refused.
    pub fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed) || self.context.log.status(self.context.id).is_short
    }

    /// Asks the disk for its free space, and publishes what is above the reserve. A device that gives no
    /// answer is taken to have enough.
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

    /// Starts the task that looks every second until the fold stops.
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
