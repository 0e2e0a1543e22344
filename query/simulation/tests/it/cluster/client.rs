//! Clients: each asks one thing after the other, of nodes at random, and notes what it was told.

use std::time::Duration;

use bytes::Bytes;
use compactor::outcome::{RecordOutcome, Rejection};
use compactor::partition::SubmitError;
use ingest::entry::ETag;
use ingest::ids::UploadId;
use ingest::log::{AppendError, ReadError};
use ingest::name::ObjectKey;
use ingest::place::Place;
use ingest::record::{self, DeleteObject, RecordBody, VersionRef};
use simulator::SimRandom;

use super::ask::{begin_upload, config, list, put, read, submit};
use super::history::{Answer, Asked, Condition, Operation, Value};
use super::node::Running;
use super::world::{NODES, World};
use crate::world::attributes;

/// Few, so that clients meet.
pub const KEYS: usize = 3;
const OPERATIONS: u64 = 20;

pub fn key(number: usize) -> ObjectKey {
    ObjectKey::new(format!("key-{number}").into_bytes()).expect("a short key")
}

/// What became of a write.
enum Written {
    Answered(Answer),
    /// It was not done and never will be.
    Refused,
}

/// Reads what a submit says. What is not known stays open; everything else is a promise.
fn written(answer: Result<RecordOutcome, SubmitError>) -> Result<Written, String> {
    Ok(match answer {
        Ok(RecordOutcome::Written(_) | RecordOutcome::Deleted(_) | RecordOutcome::Done) => {
            Written::Answered(Answer::Done)
        }
        Ok(RecordOutcome::Rejected(Rejection::PreconditionFailed)) => {
            Written::Answered(Answer::Differs)
        }
        Ok(RecordOutcome::Rejected(Rejection::NoSuchKey)) => Written::Answered(Answer::Missing),
        // A stream that was silent for an hour, by a clock that jumped, has been given up.
        Ok(RecordOutcome::Rejected(Rejection::PayloadMissing)) => Written::Refused,
        Ok(other) => return Err(format!("a write was answered {other:?}")),
        Err(SubmitError::Append(AppendError::Unknown { .. }) | SubmitError::Stopped(_)) => {
            Written::Answered(Answer::Unknown)
        }
        Err(_) => Written::Refused,
    })
}

/// One client.
pub struct Client<'a> {
    world: &'a World<'a>,
    random: SimRandom,
    /// What it knows of each key, to make conditions of.
    known: Vec<Option<(Value, ETag)>>,
}

impl<'a> Client<'a> {
    pub fn new(world: &'a World<'a>, random: SimRandom) -> Self {
        let keys = KEYS * world.settings.partitions as usize;
        Self { world, random, known: vec![None; keys] }
    }

    /// Lives for some operations, with pauses.
    pub async fn live(mut self) {
        for _ in 0..OPERATIONS {
            let pause = [0, 50, 800, 4_000][self.random.below(4) as usize];
            let pause = Duration::from_millis(self.random.below(pause + 1));
            self.world.sim.sleep(pause).await;
            let node = self.random.below(NODES as u64) as usize;
            let Some(running) = self.world.running(node) else {
                self.world.count("nodes asked that were not up");
                continue;
            };
            if let Err(what) = self.ask(&running).await
                && !self.world.disk(node).is_dead()
            {
                self.world.violates(format!("node {node}: {what}"));
            }
        }
    }

    async fn ask(&mut self, running: &Running) -> Result<(), String> {
        let partition = self.random.below(running.partitions.len() as u64) as usize;
        let key = self.random.below(KEYS as u64) as usize;
        match self.random.below(21) {
            20 => self.give_up(running, partition).await,
            0..=6 => self.put(running, partition, key).await,
            7 => self.upload(running, partition, key).await,
            8 | 9 => self.delete(running, partition, key).await,
            10..=15 => self.read(running, partition, key).await,
            16..=18 => self.list(running, partition).await,
            _ => {
                let copy = running.partitions[partition].clone();
                let cut = async move { copy.cut().await.is_ok() };
                self.world.ask(running, self.wait(), cut).await;
                Ok(())
            }
        }
    }

    /// How long it waits for an answer.
    fn wait(&self) -> Duration {
        let seconds = [1, 5, 30, 60][self.random.below(4) as usize];
        Duration::from_secs(if self.world.is_calm.get() { 60 } else { seconds })
    }

    /// What a client is not told. Where nothing fails there is nothing of the kind.
    fn miss(&self, what: &'static str) -> Result<(), String> {
        self.world.count(what);
        if self.world.is_calm.get() {
            Err(format!("{what}, and nothing has failed"))
        } else {
            Ok(())
        }
    }

    fn note(&self, partition: usize, key: usize, called: u64, asked: Asked, answer: Answer) {
        let world = self.world;
        let answered = match answer {
            Answer::Unknown => u64::MAX,
            _ => world.moment(),
        };
        world.sim.trace().event(format_args!("p{partition} key {key}: {asked:?} {answer:?}"));
        let operation = Operation { asked, answer, called, answered };
        world.histories.borrow_mut().entry((partition, key)).or_default().push(operation);
    }

    fn note_write(
        &self,
        place: (usize, usize),
        called: u64,
        asked: Asked,
        answer: Option<Result<RecordOutcome, SubmitError>>,
    ) -> Result<(), String> {
        let written = match answer {
            None => Written::Answered(Answer::Unknown),
            Some(answer) => written(answer)?,
        };
        match written {
            Written::Answered(answer) => {
                self.note(place.0, place.1, called, asked, answer);
                match answer {
                    Answer::Unknown => return self.miss("writes not known"),
                    Answer::Done => self.world.count("writes"),
                    _ => self.world.count("writes whose condition failed"),
                }
            }
            Written::Refused => return self.miss("writes refused"),
        }
        Ok(())
    }

    /// New content of a length that no other has.
    fn content(&self, base: usize) -> (Value, Bytes) {
        let mut contents = self.world.contents.borrow_mut();
        let value = contents.len() as Value;
        let len = base + value as usize;
        let mut content = format!("value {value} ").into_bytes();
        content.resize(len, 0);
        let mut state = u64::from(value);
        for byte in content.iter_mut().skip(12) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        let content = Bytes::from(content);
        contents.push(content.clone());
        (value, content)
    }

    async fn put(&mut self, running: &Running, partition: usize, key: usize) -> Result<(), String> {
        let known = self.known[partition * KEYS + key];
        let (condition, wanted) = match (self.random.below(4), known) {
            (0, _) => (Condition::Absent, record::WriteCondition::IfAbsent),
            (1, Some((value, etag))) => {
                (Condition::Is(value), record::WriteCondition::IfMatch(etag))
            }
            _ => (Condition::Always, record::WriteCondition::Always),
        };
        let base = [20, 20, 900, 70_000][self.random.below(4) as usize];
        let (value, content) = self.content(base);
        let etag = attributes(&content).etag;
        let copy = running.partitions[partition].clone();
        let bucket = self.world.buckets.borrow()[partition];
        let asked = Asked::Write(Some(value), condition);
        let called = self.world.moment();
        let put = put(copy, bucket, super::client::key(key), content, wanted);
        let answer = self.world.ask(running, self.wait(), put).await;
        let answer = match answer {
            Some(None) => {
                return self.miss("payload not taken");
            }
            Some(answer) => answer,
            None => None,
        };
        if let Some(Ok(RecordOutcome::Written(_))) = answer {
            self.known[partition * KEYS + key] = Some((value, etag));
        }
        self.note_write((partition, key), called, asked, answer)
    }

    /// Announces payload, sends some of it, and goes.
    async fn give_up(&mut self, running: &Running, partition: usize) -> Result<(), String> {
        let copy = running.partitions[partition].clone();
        let (total, sent) = (200_000u64 << self.random.below(8), self.random.below(200_000));
        let begun = async move {
            let Ok(mut writer) = copy.begin_payload(Place::Hot, total).await else { return };
            for _ in 0..=sent / 40_000 {
                if writer.write(vec![1; 40_000].into()).await.is_err() {
                    return;
                }
            }
        };
        self.world.ask(running, self.wait(), begun).await;
        self.world.count("streams given up");
        Ok(())
    }

    async fn upload(
        &mut self,
        running: &Running,
        partition: usize,
        key: usize,
    ) -> Result<(), String> {
        let (value, content) = self.content(140_000);
        let mut id = [7; 16];
        id[..4].copy_from_slice(&value.to_le_bytes());
        let bucket = self.world.buckets.borrow()[partition];
        let copy = running.partitions[partition].clone();
        let first = [70_000, 10_000][self.random.below(2) as usize];
        let key_name = super::client::key(key);
        let begin = begin_upload(copy.clone(), bucket, key_name, UploadId(id), content, first);
        let begun = self.world.ask(running, Duration::from_secs(60), begin).await;
        // Without its end an upload shows nowhere.
        let Some(Some(complete)) = begun else {
            return self.miss("uploads not completed");
        };
        self.world.count("uploads");
        let called = self.world.moment();
        let asked = Asked::Write(Some(value), Condition::Always);
        let complete = async move { submit(&copy, RecordBody::CompleteUpload(complete)).await };
        let answer = self.world.ask(running, self.wait(), complete).await;
        self.note_write((partition, key), called, asked, answer)
    }

    async fn delete(
        &mut self,
        running: &Running,
        partition: usize,
        key: usize,
    ) -> Result<(), String> {
        let bucket = self.world.buckets.borrow()[partition];
        let copy = running.partitions[partition].clone();
        let delete = DeleteObject {
            bucket,
            config: config(&copy, bucket),
            key: super::client::key(key),
            version: VersionRef::Current,
            condition: record::WriteCondition::Always,
        };
        let called = self.world.moment();
        let asked = Asked::Write(None, Condition::Always);
        let delete = async move { submit(&copy, RecordBody::DeleteObject(delete)).await };
        let answer = self.world.ask(running, self.wait(), delete).await;
        self.note_write((partition, key), called, asked, answer)
    }

    /// Reads a key; says whether an answer came.
    pub async fn read_once(
        &mut self,
        running: &Running,
        partition: usize,
        key: usize,
        wait: Duration,
    ) -> Result<bool, String> {
        let bucket = self.world.buckets.borrow()[partition];
        let copy = running.partitions[partition].clone();
        let name = super::client::key(key);
        let called = self.world.moment();
        let read = async move { read(&copy, bucket, &name).await };
        let seen = match self.world.ask(running, wait, read).await {
            None | Some(Err(ReadError::Unavailable { .. })) => return Ok(false),
            Some(Err(error)) => return Err(format!("key {key} of p{partition}: {error}")),
            Some(Ok(seen)) => seen,
        };
        let found = match seen {
            None => None,
            Some((content, etag)) => {
                let value = self.world.value_of(content.len() as u64);
                let whole = value.filter(|v| self.world.contents.borrow()[*v as usize] == content);
                let Some(value) = whole else {
                    return Err(format!(
                        "key {key} of p{partition} holds {} bytes that nobody wrote so",
                        content.len()
                    ));
                };
                self.known[partition * KEYS + key] = Some((value, etag));
                Some(value)
            }
        };
        self.note(partition, key, called, Asked::Read, Answer::Found(found));
        Ok(true)
    }

    async fn read(
        &mut self,
        running: &Running,
        partition: usize,
        key: usize,
    ) -> Result<(), String> {
        let is_read = self.read_once(running, partition, key, self.wait()).await?;
        if !is_read {
            return self.miss("reads without an answer");
        }
        self.world.count("reads");
        Ok(())
    }

    /// Lists a bucket: a read of every key, present or not. Says whether an answer came.
    pub async fn list_once(
        &mut self,
        running: &Running,
        partition: usize,
        wait: Duration,
    ) -> Result<bool, String> {
        let bucket = self.world.buckets.borrow()[partition];
        let copy = running.partitions[partition].clone();
        let page = 1 + self.random.below(4) as usize;
        let called = self.world.moment();
        let listed = async move { list(&copy, bucket, page).await };
        let listed = match self.world.ask(running, wait, listed).await {
            None | Some(Err(ReadError::Unavailable { .. })) => return Ok(false),
            Some(Err(error)) => return Err(format!("a listing of p{partition}: {error}")),
            Some(Ok(listed)) => listed,
        };
        let mut found = [None; KEYS];
        for (name, len) in &listed {
            let known = (0..KEYS).find(|number| key(*number).as_bytes() == name.as_ref());
            match (known, self.world.value_of(*len)) {
                (Some(number), Some(value)) => found[number] = Some(value),
                _ => return Err(format!("{name:?} of {len} bytes is listed in p{partition}")),
            }
        }
        if listed.len() != found.iter().flatten().count() || !listed.is_sorted() {
            return Err(format!("a listing of p{partition} is out of order: {listed:?}"));
        }
        for (number, value) in found.into_iter().enumerate() {
            self.note(partition, number, called, Asked::Read, Answer::Found(value));
        }
        Ok(true)
    }

    async fn list(&mut self, running: &Running, partition: usize) -> Result<(), String> {
        let is_listed = self.list_once(running, partition, self.wait()).await?;
        if !is_listed {
            return self.miss("listings without an answer");
        }
        self.world.count("listings");
        Ok(())
    }
}
