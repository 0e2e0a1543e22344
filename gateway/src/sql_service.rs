//! SQL over HTTP: authentication, the buckets that each user may query, and the response.
//!
//! The admin address accepts keys without encryption, since only this machine reaches it. The S3 address accepts signed
//! requests, as for all operations of S3 (see [`s3_endpoint`]). Both run queries and write results in the same way.

pub mod s3_endpoint;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use compactor::state::{BucketState, Buckets};
use compactor::view::Snapshot;
use futures::StreamExt;
use iam::Action;
use ingest::env::Fut;
use ingest::ids::{Offset, PartitionId};
use ingest::log::ReadError;
use parking_lot::Mutex;
use serde::Deserialize;
use sql::{
    OutputFormat, PartitionView, Principal, ReadOffsets, ResultWriter, SqlEngine, SqlError,
    StoreSource,
};

use crate::config::User;
use crate::refusal::{ClientInfo, RefusedRequest};
use crate::request_operation::RequestOperation;
use crate::server::partition_handle::PartitionHandle;
use crate::server::store::{LogBackend, Store};
use crate::users::{Users, may, may_inspect_store};

/// The response header with, for each partition concerned, the offset below which every record is in the result of a
/// query, or is applied after a write (that write included).
pub const OFFSET_HEADER: &str = "x-siltstone-offset";

/// Formats offsets as [`OFFSET_HEADER`] and the parameter `min_offset` contain them, such as `0:17,3:201`, in the given
/// order.
pub fn offset_text(at: &ReadOffsets) -> String {
    let mut text = String::new();
    for (partition, offset) in at {
        if !text.is_empty() {
            text.push(',');
        }
        let _ = write!(text, "{partition}:{offset}");
    }
    text
}

fn parse_offsets(text: &str, partitions: usize) -> Result<ReadOffsets, String> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let offset = |pair: &str| {
        let (partition, offset) = pair.split_once(':')?;
        let partition: u32 = partition.trim().parse().ok()?;
        let offset = Offset::new(offset.trim().parse().ok()?);
        ((partition as usize) < partitions).then(|| (PartitionId::new(partition), offset))
    };
    let wrong = |pair| {
        format!("`{pair}` is not a partition and offset of this store, as in {OFFSET_HEADER}")
    };
    pairs.map(|pair| offset(pair).ok_or_else(|| wrong(pair))).collect()
}

/// The store with only those buckets that one user may query or follow.
struct UserView {
    store: Arc<Store>,
    user: Arc<User>,
    asker: Principal,
}

impl UserView {
    fn new(store: Arc<Store>, user: Arc<User>) -> Self {
        let asker = Principal {
            name: user.name.clone(),
            id: user.id.clone(),
            is_operator: may_inspect_store(&user),
        };
        Self { store, user, asker }
    }
}

impl StoreSource for UserView {
    fn fresh(&self) -> Fut<'_, Result<Vec<PartitionView>, ReadError>> {
        Box::pin(async move {
            let seen = |(snapshot, partition): (Snapshot, PartitionHandle<'_>)| {
                let (queried, followed) = visible_buckets(&self.user, &snapshot.buckets);
                PartitionView {
                    followed,
                    snapshot: Snapshot { buckets: queried, ..snapshot },
                    log: partition.log().clone(),
                }
            };
            let snapshots = self.store.fresh().await?;
            Ok(snapshots.into_iter().zip(self.store.partitions()).map(seen).collect())
        })
    }

    fn asker(&self) -> &Principal {
        &self.asker
    }
}

/// The buckets whose rows a user may read in SQL, and those whose changes.
fn visible_buckets(user: &User, all: &Arc<Buckets>) -> (Arc<Buckets>, Arc<Buckets>) {
    let queried = all.filtered(|bucket| may(user, Action::QueryBucket, bucket));
    let is_followed = |bucket: &BucketState| may(user, Action::FollowBucket, bucket);
    // An operator may follow all buckets, so no copy is needed.
    let followed = if all.iter().all(|bucket| is_followed(bucket)) {
        all.clone()
    } else {
        Arc::new(all.filtered(is_followed))
    };
    (Arc::new(queried), followed)
}

/// The parameters of a query over HTTP.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryOptions {
    /// The name of the output format; see [`OutputFormat`].
    pub format: Option<String>,
    /// Offsets that must be applied before the query runs, as [`OFFSET_HEADER`] writes them.
    pub min_offset: Option<String>,
}

/// The SQL endpoint: authenticates, runs the query, streams the result. Cheap to clone; clones share all state.
#[derive(Clone)]
pub struct SqlService {
    store: Arc<Store>,
    users: Arc<Users>,
    engine: Arc<SqlEngine>,
    /// The number of queries that wait for an offset, by user id; shared by all requests.
    early: Arc<Mutex<HashMap<String, usize>>>,
}

impl SqlService {
    /// Makes the endpoint for queries over a store. `engine` runs the queries; only users in `users` may send them.
    pub fn new(store: Arc<Store>, users: Arc<Users>, engine: Arc<SqlEngine>) -> Self {
        Self { store, users, engine, early: Arc::default() }
    }

    /// The engine that runs the queries of this endpoint and of the PostgreSQL address, with common limits.
    pub fn engine(&self) -> &Arc<SqlEngine> {
        &self.engine
    }

    /// The user whose keys are in `Authorization: Basic`; `None` without valid keys. The access key is written to `who`
    /// before it is checked.
    fn asker(&self, headers: &HeaderMap, who: &mut ClientInfo) -> Option<&Arc<User>> {
        let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = given.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = base64::prelude::BASE64_STANDARD.decode(encoded.trim()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (access_key, secret_key) = text.split_once(':')?;
        who.access_key = Some(access_key.to_owned());
        self.users.with_keys(access_key, secret_key)
    }

    /// Waits until every record below the offsets is applied here. Meanwhile the query takes no place among running
    /// queries. Fails if the user has too many waiting queries, if the wait takes too long, and for an offset
    /// beyond the end of an embedded log, which no response can have contained.
    async fn reach(&self, user: &User, at_least: &ReadOffsets) -> Result<(), SqlError> {
        if at_least.is_empty() {
            return Ok(());
        }
        let _early = OffsetWait::new(&self.early, user)?;
        for (id, offset) in at_least {
            let partition = self.store.partition(*id);
            let partition = partition
                .ok_or_else(|| SqlError::refused(format!("the store has no partition {id}")))?;
            let end = partition.log_end();
            if matches!(self.store.kind, LogBackend::Embedded(_)) && *offset > end {
                let text = format!("min_offset {id}:{offset} is beyond the end of the log, {end}");
                return Err(SqlError::refused(text));
            }
            partition.reach(*offset).await.map_err(|error| SqlError::reading(&error))?;
        }
        Ok(())
    }

    /// Runs a query of the user whose keys are in the headers, as [`Self::answer_to`]. Without valid keys the
    /// response is 401, before the query is parsed, and the refusal is logged.
    pub async fn answer(
        &self,
        headers: &HeaderMap,
        address: Option<SocketAddr>,
        wishes: QueryOptions,
        text: String,
    ) -> Response {
        let mut who = ClientInfo { address, ..ClientInfo::default() };
        match self.asker(headers, &mut who) {
            Some(user) => self.answer_to(user, wishes, text).await,
            None => {
                RefusedRequest {
                    request: "",
                    operation: RequestOperation::Sql,
                    path: "/sql",
                    status: 401,
                    code: "Unauthorized",
                    cause: None,
                    who: &who,
                }
                .tell();
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"siltstone\"")];
                let told = "give an access key and its secret key as user and password\n";
                (StatusCode::UNAUTHORIZED, challenge, told).into_response()
            }
        }
    }

    /// Runs a query of an authenticated user and streams the result. An error before the first piece of the result
    /// gives a response with its own status. A later error ends the response early with a broken transfer, so that
    /// no client takes a part of the result for the whole. Dropping the body cancels the query.
    pub async fn answer_to(
        &self,
        user: &Arc<User>,
        wishes: QueryOptions,
        text: String,
    ) -> Response {
        let format = wishes.format.as_deref().unwrap_or("json").parse::<OutputFormat>();
        let at_least = wishes.min_offset.as_deref().unwrap_or_default();
        let at_least = parse_offsets(at_least, self.store.partitions().len());
        let (format, at_least) = match (format, at_least) {
            (Ok(format), Ok(at_least)) => (format, at_least),
            (Err(error), _) | (_, Err(error)) => {
                return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response();
            }
        };
        if let Err(error) = self.reach(user, &at_least).await {
            return error_answer(&error);
        }
        let viewer = Arc::new(UserView::new(self.store.clone(), user.clone()));
        let mut rows = match self.engine.query(viewer, text.into(), ResultWriter::new(format)).await
        {
            Ok(rows) => rows,
            Err(error) => return error_answer(&error),
        };
        // The first piece is made before the response begins, so that most errors still get their own status.
        let first = match rows.next().await.transpose() {
            Ok(first) => first.unwrap_or_default(),
            Err(error) => return error_answer(&error),
        };
        let at = offset_text(&rows.at);
        let rest = futures::stream::try_unfold(rows, |mut rows| async move {
            let piece = rows.next().await.transpose().inspect_err(|error| {
                let operation = RequestOperation::Sql.name();
                tracing::warn!(operation, %error, "a query ended early");
            })?;
            Ok::<_, SqlError>(piece.map(|piece| (Bytes::from(piece), rows)))
        });
        let body = futures::stream::once(async move { Ok(Bytes::from(first)) }).chain(rest);
        let headers = [
            (header::CONTENT_TYPE.as_str(), format.content_type().to_owned()),
            (OFFSET_HEADER, at),
        ];
        (headers, Body::from_stream(body)).into_response()
    }
}

/// The place of a query that waits for an offset, freed when this is dropped.
struct OffsetWait {
    all: Arc<Mutex<HashMap<String, usize>>>,
    user: String,
}

/// The largest number of queries of one user that wait for an offset at a time.
const EARLY_MAX: usize = 32;

impl OffsetWait {
    fn new(all: &Arc<Mutex<HashMap<String, usize>>>, user: &User) -> Result<Self, SqlError> {
        let mut waiting = all.lock();
        let count = waiting.entry(user.id.clone()).or_default();
        if *count >= EARLY_MAX {
            return Err(SqlError::Busy);
        }
        *count += 1;
        Ok(Self { all: all.clone(), user: user.id.clone() })
    }
}

impl Drop for OffsetWait {
    fn drop(&mut self) {
        let mut waiting = self.all.lock();
        if let Some(count) = waiting.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.user);
            }
        }
    }
}

/// Gives PostgreSQL's protocol the same users and views.
impl pg::Accounts for SqlService {
    fn secret_key(&self, access_key: &str) -> Option<String> {
        self.users.with_key(access_key).map(|user| user.secret_key.expose().to_owned())
    }

    fn source(&self, access_key: &str) -> Option<Arc<dyn StoreSource>> {
        let user = self.users.with_key(access_key)?;
        Some(Arc::new(UserView::new(self.store.clone(), user.clone())))
    }

    fn denied(&self, access_key: &str, address: SocketAddr, code: &str) {
        let who = ClientInfo {
            access_key: Some(access_key.to_owned()),
            address: Some(address),
            ..ClientInfo::default()
        };
        let operation = RequestOperation::PostgresLogin;
        let (request, path, status, cause) = ("", "", 401, None);
        RefusedRequest { request, operation, path, status, code, cause, who: &who }.tell();
    }
}

fn error_answer(error: &SqlError) -> Response {
    let status = match error {
        SqlError::Refused(_) | SqlError::Complex(_) | SqlError::Value(_) => StatusCode::BAD_REQUEST,
        SqlError::Memory(_) | SqlError::Deadline(_) => StatusCode::UNPROCESSABLE_ENTITY,
        SqlError::Busy | SqlError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        SqlError::Read(_) | SqlError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{error}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use ingest::ids::{BucketId, ConfigVersion};
    use ingest::name::BucketName;
    use ingest::record::Versioning;
    use ingest::time::WallTime;
    use s3::sigv4::DerivedKey;

    use super::*;
    use crate::secret::Secret;

    fn user(id: &str) -> User {
        User {
            name: id.into(),
            id: id.into(),
            display_name: id.into(),
            email: String::new(),
            access_key: id.into(),
            secret_key: Secret::from(String::new()),
            derived_key: DerivedKey::default(),
        }
    }

    fn buckets(owners: &[&str]) -> Arc<Buckets> {
        let mut buckets = Buckets::default();
        for (index, owner) in owners.iter().enumerate() {
            buckets.insert(BucketState {
                id: BucketId::new(index as u64),
                name: BucketName::new(format!("bucket-{index}").into_bytes()).unwrap(),
                owner: (*owner).to_owned(),
                region: String::new(),
                created: WallTime::from_micros(0),
                versioning: Versioning::Off,
                notifications: None,
                config: ConfigVersion::ZERO,
                documents: Default::default(),
                tail: Default::default(),
            });
        }
        Arc::new(buckets)
    }

    #[test]
    fn users_see_their_own_buckets_and_operators_follow_all() {
        let root = crate::users::ROOT_ID.as_str();
        let all = buckets(&["ann", root, "bob", "ann"]);
        let names = |buckets: &Buckets| {
            let names = buckets.iter().map(|bucket| bucket.name.as_str().to_owned());
            names.collect::<Vec<_>>().join(" ")
        };
        for (id, queried, followed) in [
            ("ann", "bucket-0 bucket-3", "bucket-0 bucket-3"),
            ("bob", "bucket-2", "bucket-2"),
            ("eve", "", ""),
            (root, "bucket-1", "bucket-0 bucket-1 bucket-2 bucket-3"),
        ] {
            let user = user(id);
            let visible = visible_buckets(&user, &all);
            assert_eq!(
                (names(&visible.0).as_str(), names(&visible.1).as_str()),
                (queried, followed)
            );
            assert_eq!(may_inspect_store(&user), id == root);
        }
    }

    #[test]
    fn offsets_are_written_and_read() {
        let at =
            vec![(PartitionId::new(0), Offset::new(17)), (PartitionId::new(3), Offset::new(2))];
        assert_eq!(offset_text(&at), "0:17,3:2");
        assert_eq!(parse_offsets("0:17, 3:2", 4), Ok(at));
        assert_eq!(parse_offsets("", 4), Ok(ReadOffsets::new()));
        for wrong in ["4:1", "1", "x:1", "1:x", "-1:1"] {
            assert!(parse_offsets(wrong, 4).is_err(), "{wrong}");
        }
    }
}
