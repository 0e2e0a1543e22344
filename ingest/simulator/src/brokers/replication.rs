//! How followers copy their leader's log, and how the leader commits messages.
//!
//! ```text
//!   follower ──fetch: I have everything below 17──► leader: commits what all in sync have
//!            ◄─further messages, high watermark────
//! ```
//!
//! A follower that learns of a new leader first truncates the messages that this leader does not have.
//! A replaced leader that does not know of its replacement gets no more fetches, so it commits and
//! acknowledges nothing.

use std::time::Duration;

use super::cluster::{BrokerEvent, Cluster, ClusterEvent, FollowerFetch, FollowerHolding};
use super::exchange::ClientAnswer;
use super::partition::{
    FollowerProgress, FollowerState, LeaderState, PendingProduce, Replica, ReplicaRole,
};
use super::{BROKERS, MIN_IN_SYNC};

/// Longest time after which an idle follower learns the leader's new high watermark.
const REFRESH: Duration = Duration::from_millis(500);

impl Cluster {
    /// Lets a broker learn the decisions about every partition and take the role that follows. Ignored
    /// while the broker is not registered or not connected to the majority.
    pub fn hear_decisions(&mut self, broker: usize) {
        if !self.controller.is_registered(broker) || !self.network.quorum().contains(broker) {
            return;
        }
        for partition in 0..self.partitions.len() {
            let decided = self.partitions[partition].decided;
            let replica = &mut self.partitions[partition].replicas[broker];
            let is_new =
                decided.epoch > replica.heard.epoch || matches!(replica.role, ReplicaRole::None);
            replica.heard = decided;
            if is_new {
                self.leave_role(partition, broker);
                match decided.leader {
                    Some(leader) if leader == broker => self.lead(partition, broker),
                    _ => self.follow(partition, broker),
                }
            } else if let Some(leading) = replica.leading() {
                leading.in_sync = decided.in_sync;
                self.settle(partition, broker);
            }
        }
    }

    /// Ends a broker's role for a partition. Clients that wait for it get the answer that it does not
    /// lead; waiting fetches of followers end.
    pub fn leave_role(&mut self, partition: usize, broker: usize) {
        let replica = &mut self.partitions[partition].replicas[broker];
        let ReplicaRole::Leader(leading) = std::mem::replace(&mut replica.role, ReplicaRole::None)
        else {
            return;
        };
        for pending in leading.pending {
            self.answer(pending.client, pending.connection, broker, ClientAnswer::NotLeader);
        }
        for reader in leading.readers {
            self.answer(reader.client, reader.connection, broker, ClientAnswer::NotLeader);
        }
        for (follower, number) in leading.parked.into_iter().enumerate() {
            if let Some(number) = number {
                self.forget_fetch(partition, follower, number);
            }
        }
    }

    /// Makes a broker the leader, at the end of its present log.
    fn lead(&mut self, partition: usize, broker: usize) {
        let replica = &mut self.partitions[partition].replicas[broker];
        let (epoch, end) = (replica.heard.epoch, replica.log.end());
        let in_sync = replica.heard.in_sync;
        replica.role =
            ReplicaRole::Leader(LeaderState { in_sync, since: end, ..LeaderState::default() });
        self.trace(format_args!("p{partition} b{broker} leads in epoch {epoch} from {end}"));
        // Followers that learned of the decision earlier have fetched in vain.
        (0..BROKERS).for_each(|follower| self.fetch(partition, follower));
    }

    /// Makes a broker a follower, which fetches at once.
    fn follow(&mut self, partition: usize, broker: usize) {
        let replica = &mut self.partitions[partition].replicas[broker];
        replica.role = ReplicaRole::Follower(FollowerState::default());
        self.fetch(partition, broker);
    }

    /// Sends a follower's next fetch, unless one is under way, the leader is not known or the
    /// connection is cut. Must be called again after each change of these.
    pub fn fetch(&mut self, partition: usize, follower: usize) {
        let number = self.next_fetch;
        let replica = &mut self.partitions[partition].replicas[follower];
        let Some(leader) = replica.heard.leader else { return };
        if !self.network.joins(follower, leader) {
            return;
        }
        let ReplicaRole::Follower(following) = &mut replica.role else { return };
        if following.fetch.is_some() {
            return;
        }
        following.fetch = Some(number);
        let fetch =
            FollowerFetch { partition, follower, leader, epoch: replica.heard.epoch, number };
        let holding = FollowerHolding {
            position: replica.log.end(),
            start: replica.log.start(),
            high_watermark: replica.log.high_watermark(),
            is_checked: following.is_checked,
        };
        self.next_fetch += 1;
        let arrives = BrokerEvent::FetchArrives(fetch, holding);
        self.after(self.hop(), ClusterEvent::Broker(leader, arrives));
    }

    /// Ends a fetch without success. The follower fetches again only after a change of the network or
    /// of its role.
    pub fn end_fetch(&mut self, fetch: FollowerFetch) {
        self.forget_fetch(fetch.partition, fetch.follower, fetch.number);
    }

    /// Ends a follower's fetch with this number; ignored unless it is the one under way.
    pub fn forget_fetch(&mut self, partition: usize, follower: usize, number: u64) {
        let replica = &mut self.partitions[partition].replicas[follower];
        if let Some(following) = replica.following()
            && following.fetch == Some(number)
        {
            following.fetch = None;
        }
    }

    /// Processes a fetch at its leader: notes the follower's progress, and answers now or only once
    /// there are new messages. The leader then commits messages that all brokers in sync have.
    pub fn answer_fetch(&mut self, fetch: FollowerFetch, holding: FollowerHolding) {
        let FollowerFetch { partition, follower, leader, .. } = fetch;
        let replica = &mut self.partitions[partition].replicas[leader];
        let is_current = replica.heard.epoch == fetch.epoch;
        let ReplicaRole::Leader(leading) = &mut replica.role else { return self.end_fetch(fetch) };
        if !is_current || !self.network.joins(follower, leader) {
            return self.end_fetch(fetch);
        }
        if holding.is_checked {
            let progress = FollowerProgress { position: holding.position, start: holding.start };
            leading.followers[follower] = Some(progress);
        }
        let log = &replica.log;
        let is_behind = log.end() > holding.position || log.start() > holding.start;
        if is_behind || !holding.is_checked {
            self.after(
                self.hop(),
                ClusterEvent::Broker(follower, BrokerEvent::FetchReturns(fetch)),
            );
        } else {
            leading.parked[follower] = Some(fetch.number);
            if log.high_watermark() > holding.high_watermark {
                self.plan_refresh(partition, leader);
            }
        }
        self.take_into_sync(partition, follower);
        self.settle(partition, leader);
    }

    /// Copies messages from the leader's log when its answer arrives: in one epoch that log only grows,
    /// so the copy is what a slightly later answer would have been. Truncates the follower's log
    /// before, if it is not known to be a part of the leader's.
    pub fn take_fetched(&mut self, fetch: FollowerFetch) {
        let FollowerFetch { partition, follower, leader, .. } = fetch;
        let messages_max = self.knobs.fetch_messages_max as usize;
        let replicas = &mut self.partitions[partition].replicas;
        let Ok([from, to]) = replicas.get_disjoint_mut([leader, follower]) else { return };
        let ReplicaRole::Follower(following) = &mut to.role else { return };
        if following.fetch != Some(fetch.number) {
            return;
        }
        following.fetch = None;
        let is_led = matches!(from.role, ReplicaRole::Leader(_)) && from.heard.epoch == fetch.epoch;
        if !is_led || !self.network.joins(follower, leader) {
            return;
        }
        let mut cut_off = None;
        if !following.is_checked {
            following.is_checked = true;
            let common = to.log.common_end(&from.log);
            if common < to.log.end() {
                cut_off = Some((to.log.end(), common));
                to.log.truncate(common);
            }
        }
        if to.log.end() < from.log.start() {
            to.log.reset(from.log.start());
        }
        let position = to.log.end();
        let copied = from.log.from(position).take(messages_max);
        copied.for_each(|entry| to.log.append(entry.clone()));
        to.log.commit(from.log.high_watermark());
        to.log.delete_below(from.log.start());
        let end = to.log.end();
        if let Some((before, common)) = cut_off {
            self.trace(format_args!("p{partition} b{follower} truncates {before} to {common}"));
        }
        if position < end {
            self.trace(format_args!("p{partition} b{follower} copies {position}..{end}"));
        }
        self.fetch(partition, follower);
    }

    /// Answers the followers' fetches that wait for new messages. Called after every change that a
    /// follower must learn.
    pub fn wake_followers(&mut self, partition: usize, leader: usize) {
        let replica = &mut self.partitions[partition].replicas[leader];
        let epoch = replica.heard.epoch;
        let Some(leading) = replica.leading() else { return };
        let parked = std::mem::take(&mut leading.parked);
        for (follower, number) in parked.into_iter().enumerate() {
            let Some(number) = number else { continue };
            let fetch = FollowerFetch { partition, follower, leader, epoch, number };
            self.after(
                self.hop(),
                ClusterEvent::Broker(follower, BrokerEvent::FetchReturns(fetch)),
            );
        }
    }

    /// Schedules an answer to waiting fetches, so that idle followers learn the new high watermark.
    fn plan_refresh(&mut self, partition: usize, leader: usize) {
        let replica = &mut self.partitions[partition].replicas[leader];
        let epoch = replica.heard.epoch;
        let Some(leading) = replica.leading() else { return };
        if !std::mem::replace(&mut leading.is_refresh_due, true) {
            let refresh = BrokerEvent::Refresh { partition, epoch };
            self.after(self.draw(REFRESH), ClusterEvent::Broker(leader, refresh));
        }
    }

    /// Answers waiting fetches when a refresh is due. Ignored unless the broker still leads in that
    /// epoch.
    pub fn refresh_followers(&mut self, partition: usize, leader: usize, epoch: u32) {
        let replica = &mut self.partitions[partition].replicas[leader];
        if replica.heard.epoch != epoch {
            return;
        }
        let Some(leading) = replica.leading() else { return };
        leading.is_refresh_due = false;
        self.wake_followers(partition, leader);
    }

    /// Commits the messages that all brokers in sync have, then answers producers, consumers and
    /// deletions that waited for it. Must be called after every progress of a follower and every change
    /// of the set in sync.
    pub fn settle(&mut self, partition: usize, leader: usize) {
        let replica = &mut self.partitions[partition].replicas[leader];
        let ReplicaRole::Leader(leading) = &mut replica.role else { return };
        let end = replica.log.end();
        let position = |broker: usize| match broker == leader {
            true => end,
            false => leading.followers[broker].map_or(0, |progress| progress.position),
        };
        // Without a fetch in this epoch a follower counts as empty, so nothing is committed on old
        // knowledge.
        let reached = leading.in_sync.iter().map(position).min().unwrap_or(0);
        let has_committed = leading.may_commit() && replica.log.commit(reached);
        let high_watermark = replica.log.high_watermark();
        if has_committed {
            let holds = |replica: &&Replica| replica.log.end() >= high_watermark;
            let holders = self.partitions[partition].replicas.iter().filter(holds).count();
            assert!(holders >= MIN_IN_SYNC, "what is committed is held by more than one broker");
            self.trace(format_args!("p{partition} b{leader} commits to {high_watermark}"));
            self.plan_refresh(partition, leader);
            self.serve_parked(partition, leader);
        }
        self.acknowledge(partition, leader);
        self.finish_deletions(partition, leader);
    }

    /// Acknowledges the committed requests of producers, in order; some answers are lost with their
    /// connection.
    fn acknowledge(&mut self, partition: usize, leader: usize) {
        loop {
            let replica = &mut self.partitions[partition].replicas[leader];
            let high_watermark = replica.log.high_watermark();
            let Some(leading) = replica.leading() else { return };
            let is_next = |pending: &mut PendingProduce| pending.needs <= high_watermark;
            let Some(next) = leading.pending.pop_front_if(is_next) else { return };
            self.acknowledgements[leader] += 1;
            if self.random.chance(self.knobs.lost_answers_percent) {
                self.lose(next.client, next.connection);
            } else {
                let answer = ClientAnswer::Acknowledged { first: next.first };
                self.answer(next.client, next.connection, leader, answer);
            }
        }
    }
}
