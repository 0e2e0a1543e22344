//! Free space of the device of each place: observed, compared with the reserve, and for the hot place reported to the
//! other nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ingest::env::{Fut, Task};
use ingest::place::Place;
use parking_lot::Mutex;

use super::context::PartitionContext;
use super::health::Health;
use super::nodes::NodeRegistry;

/// The interval at which free space is read, in addition to a read after every publication.
const SPACE_EVERY: Duration = Duration::from_secs(1);

/// The result of the last comparison of the devices' free space with the reserve.
pub(crate) struct SpaceWatch {
    context: Arc<PartitionContext>,
    nodes: Arc<NodeRegistry>,
    is_short: AtomicBool,
    /// The reason why no payload can be taken for the cold place, if there is one.
    cold: Mutex<Option<String>>,
}

impl SpaceWatch {
    /// Begins with a device that has enough space, until the first look.
    pub fn new(context: Arc<PartitionContext>, nodes: Arc<NodeRegistry>) -> Self {
        Self { context, nodes, is_short: AtomicBool::new(false), cold: Mutex::default() }
    }

    /// Returns true if less than the reserve is free in the hot place, or the log is short of space: writes that make the
    /// store larger are refused. Does not ask the disk.
    pub fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed) || self.context.log.status(self.context.id).is_short
    }

    /// Returns the reason why no payload can be taken for the cold place: its device is nearly full or not
    /// there. Writes to the hot place are not concerned. Does not ask the disk.
    pub fn cold_refusal(&self) -> Option<String> {
        self.cold.lock().clone()
    }

    /// Reads the free space of both places, and reports the part of the hot one above the reserve to other
    /// nodes. A hot device that does not give the number counts as having enough. Called after every publication, since flushes and
    /// merges change the space.
    pub async fn look(&self) {
        let reserve = self.context.options.reserve_bytes;
        let free = self.context.env.disk.free_bytes(Place::Hot).await;
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
        self.look_at_cold(reserve).await;
    }

    /// Reads the free space of the cold place. A device that does not give the number counts as not there.
    async fn look_at_cold(&self, reserve: u64) {
        let refusal = match self.context.env.disk.free_bytes(Place::Cold).await {
            Ok(free) if free >= reserve => None,
            Ok(_) => Some("the device of the cold place is nearly full".to_owned()),
            Err(error) => Some(format!("the cold place cannot be used: {error}")),
        };
        let former = std::mem::replace(&mut *self.cold.lock(), refusal.clone());
        match &refusal {
            Some(reason) if former.is_none() => {
                tracing::warn!(reason, "no payload is taken for the cold place");
            }
            None if former.is_some() => tracing::info!("the cold place takes payload again"),
            _ => {}
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
