//! Answers statements, in both forms of the protocol: a text (simple), and prepared (extended).

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Sink, SinkExt, stream};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, METADATA_USER, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::DataRow;
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Parse, ParseComplete, TARGET_TYPE_BYTE_STATEMENT,
};
use sql::arrow::datatypes::{Schema, SchemaRef};
use sql::{
    QueryRequest, QueryRows, ScalarValue, SqlEngine, SqlError, SqlStatement, StoreSource, settings,
};

use crate::accounts::Accounts;
use crate::answer;
use crate::failure::{self, failure};
use crate::login::FinishedLogin;
use crate::parameters;
use crate::session_memory::{SessionItemKind, SessionMemory};

/// Answers statements of all connections.
pub struct QueryHandler {
    parser: Arc<StatementParser>,
}

/// A prepared statement.
#[derive(Clone, Debug)]
pub struct PreparedStatement {
    /// The text as the client sent it.
    text: String,
    statement: SqlStatement,
    parameters: Vec<Type>,
    schema: SchemaRef,
}

/// Prepares statements and runs queries on behalf of the connection's user.
pub struct StatementParser {
    engine: Arc<SqlEngine>,
    accounts: Arc<dyn Accounts>,
    /// A seeded bug: the name in the client's startup message is believed without a login.
    opens_early: bool,
}

impl QueryHandler {
    /// Makes the handler, which all connections share and which keeps no state of any of them. `opens_early`
    /// must be false outside tests of tests.
    pub fn new(engine: Arc<SqlEngine>, accounts: Arc<dyn Accounts>, opens_early: bool) -> Self {
        Self { parser: Arc::new(StatementParser { engine, accounts, opens_early }) }
    }
}

impl PreparedStatement {
    /// Returns about the bytes that the statement takes, as far as a client can make them many.
    fn bytes(&self) -> usize {
        let others = match &self.statement {
            SqlStatement::Query(others) => others.iter().map(String::len).sum(),
            _ => 0,
        };
        let columns = self.schema.fields().iter().map(|field| field.size()).sum::<usize>();
        self.text.len() + others + columns + self.parameters.len() * size_of::<Type>()
    }
}

/// Returns the connection's account of what it keeps.
fn kept<C: ClientInfo>(client: &C) -> Arc<SessionMemory> {
    client.session_extensions().get_or_insert_with(SessionMemory::default)
}

impl StatementParser {
    /// Returns the store as the user who has logged in may see it. Fails with SQLSTATE 28000 without a finished
    /// login, or if the user does not exist any more.
    fn source<C: ClientInfo>(&self, client: &C) -> PgWireResult<Arc<dyn StoreSource>> {
        let login = client.session_extensions().get::<FinishedLogin>();
        let user = match self.opens_early {
            true => client.metadata().get(METADATA_USER).cloned(),
            false => login.map(|login| login.access_key.clone()),
        };
        let user =
            user.ok_or_else(|| failure("28000", "no login has finished on this connection"))?;
        let source = self.accounts.source(&user);
        source.ok_or_else(|| failure("28000", "the user does not exist any more"))
    }

    /// Parses a text on the engine's threads.
    async fn statements(
        &self,
        source: &Arc<dyn StoreSource>,
        text: &str,
    ) -> PgWireResult<Vec<SqlStatement>> {
        let parsed = self.engine.statements(source.asker(), text.to_owned()).await;
        parsed.map_err(|error| failure::of(&error, text))
    }

    /// Runs a query on behalf of `source`, in the client's own text or in one of the alternatives.
    async fn query(
        &self,
        source: Arc<dyn StoreSource>,
        text: &str,
        others: &[String],
        values: Vec<ScalarValue>,
        format: &Format,
    ) -> Result<QueryRows<Vec<DataRow>>, SqlError> {
        first_that_means_something(text, others, |text| {
            let question = QueryRequest { text, parameters: values.clone() };
            self.engine.query(source.clone(), question, answer::RowWriter::new(format))
        })
        .await
    }
}

/// Tries the client's own text first, then the alternatives, as long as each is refused. If all are refused,
/// returns the refusal of the client's own text, whose places are places in that text.
async fn first_that_means_something<T, F: Future<Output = Result<T, SqlError>>>(
    text: &str,
    others: &[String],
    attempt: impl Fn(String) -> F,
) -> Result<T, SqlError> {
    let refusal = match attempt(text.to_owned()).await {
        Err(SqlError::Refused(refusal)) => refusal,
        tried => return tried,
    };
    for other in others.iter().filter(|other| *other != text) {
        match attempt(other.clone()).await {
            Err(SqlError::Refused(_)) => {}
            tried => return tried,
        }
    }
    Err(SqlError::Refused(refusal))
}

/// Removes a prepared statement, or all statements and portals.
fn let_go<C>(client: &C, name: Option<&str>)
where
    C: ClientInfo + ClientPortalStore,
    C::PortalStore: PortalStore,
{
    let (store, kept) = (client.portal_store(), kept(client));
    if let Some(name) = name {
        kept.remove(SessionItemKind::Statement, name);
        return store.rm_statement(name);
    }
    for (kind, name) in kept.clear() {
        match kind {
            SessionItemKind::Statement => store.rm_statement(&name),
            SessionItemKind::Portal => store.rm_portal(&name),
        }
    }
}

/// Answers a statement about the session.
fn about_session<C>(client: &C, statement: &SqlStatement) -> PgWireResult<Response>
where
    C: ClientInfo + ClientPortalStore,
    C::PortalStore: PortalStore,
{
    match statement {
        SqlStatement::Deallocate(name) => {
            let_go(client, Some(name.as_str()).filter(|name| !name.eq_ignore_ascii_case("all")));
        }
        SqlStatement::Discard => let_go(client, None),
        _ => {}
    }
    Ok(match statement {
        SqlStatement::Begin => Response::TransactionStart(Tag::new("BEGIN")),
        SqlStatement::Commit => Response::TransactionEnd(Tag::new("COMMIT")),
        SqlStatement::Rollback => Response::TransactionEnd(Tag::new("ROLLBACK")),
        SqlStatement::Savepoint => Response::Execution(Tag::new("SAVEPOINT")),
        SqlStatement::Release => Response::Execution(Tag::new("RELEASE")),
        // The transaction continues, so the client must go on to see an open one.
        SqlStatement::RollbackTo => Response::TransactionStart(Tag::new("ROLLBACK")),
        SqlStatement::Set(name, value) if settings::is_fixed(name, value) => {
            return Err(failure("0A000", format!("{name} is fixed here, it cannot be {value}")));
        }
        SqlStatement::Set(..) => Response::Execution(Tag::new("SET")),
        SqlStatement::Deallocate(_) => Response::Execution(Tag::new("DEALLOCATE")),
        SqlStatement::Discard => Response::Execution(Tag::new("DISCARD ALL")),
        SqlStatement::Show(name) => return shown(name),
        SqlStatement::Query(_) => return Err(failure("XX000", "a query is answered elsewhere")),
    })
}

/// Describes the only column of a SHOW.
fn shown_field(name: &str) -> FieldInfo {
    FieldInfo::new(name.to_owned(), None, None, Type::TEXT, FieldFormat::Text)
}

/// Answers a SHOW. Fails with SQLSTATE 42704 if there is no such setting.
fn shown(name: &str) -> PgWireResult<Response> {
    let value = settings::value(name)
        .ok_or_else(|| failure("42704", format!("there is no setting \"{name}\"")))?;
    let fields = Arc::new(vec![shown_field(name)]);
    let mut row = DataRowEncoder::new(fields.clone());
    row.encode_field(&value)?;
    let row = row.take_row();
    let mut response = QueryResponse::new(fields, stream::iter([Ok(row)]));
    response.set_command_tag("SHOW");
    Ok(Response::Query(response))
}

#[async_trait]
impl SimpleQueryHandler for QueryHandler {
    async fn do_query<C>(&self, client: &mut C, text: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let source = self.parser.source(client)?;
        let parsed = self.parser.statements(&source, text).await?;
        let is_alone = parsed.len() == 1;
        if parsed.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        let mut responses = Vec::new();
        for statement in parsed {
            let response = match &statement {
                SqlStatement::Query(others) => {
                    // The client's text contains all statements. Of several, each is run in the parser's own
                    // rendering.
                    let own = if is_alone { text } else { others.first().map_or(text, |o| o) };
                    let format = &Format::UnifiedText;
                    let source = source.clone();
                    let rows = self.parser.query(source, own, others, Vec::new(), format).await;
                    let rows = rows.map_err(|error| failure::of(&error, own))?;
                    Response::Query(answer::response(rows, format, own.to_owned())?)
                }
                other => about_session(client, other)?,
            };
            responses.push(response);
        }
        Ok(responses)
    }
}

#[async_trait]
impl QueryParser for StatementParser {
    type Statement = PreparedStatement;

    async fn parse_sql<C>(
        &self,
        client: &C,
        text: &str,
        wished: &[Option<Type>],
    ) -> PgWireResult<Option<PreparedStatement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let source = self.source(client)?;
        let told = |error: &SqlError| failure::of(error, text);
        let mut parsed = self.statements(&source, text).await?;
        if parsed.len() > 1 {
            return Err(failure("42601", "only one statement can be prepared at a time"));
        }
        let Some(statement) = parsed.pop() else { return Ok(None) };
        let mut prepared = PreparedStatement {
            text: text.to_owned(),
            statement,
            parameters: Vec::new(),
            schema: Arc::new(Schema::empty()),
        };
        let SqlStatement::Query(others) = &prepared.statement else { return Ok(Some(prepared)) };
        let described = first_that_means_something(text, others, |text| {
            self.engine.describe(source.clone(), text)
        });
        let described = described.await.map_err(|error| told(&error))?;
        // A driver may declare types of more parameters than the query uses.
        let count = described.parameters.len().max(wished.len());
        let wire = |at: usize| {
            let found = described.parameters.get(at).and_then(Option::as_ref);
            parameters::wire_type(wished.get(at).and_then(Option::as_ref), found)
        };
        prepared.parameters = (0..count).map(wire).collect();
        prepared.schema = described.schema;
        Ok(Some(prepared))
    }

    fn get_parameter_types(&self, prepared: &PreparedStatement) -> PgWireResult<Vec<Type>> {
        Ok(prepared.parameters.clone())
    }

    fn get_result_schema(
        &self,
        prepared: &PreparedStatement,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        match &prepared.statement {
            SqlStatement::Show(name) => Ok(vec![shown_field(name)]),
            _ => answer::fields(&prepared.schema, format.unwrap_or(&Format::UnifiedText)),
        }
    }
}

#[async_trait]
impl ExtendedQueryHandler for QueryHandler {
    type Statement = PreparedStatement;
    type QueryParser = StatementParser;

    fn query_parser(&self) -> Arc<StatementParser> {
        self.parser.clone()
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = PreparedStatement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let parsed = StoredStatement::parse(client, &message, self.parser.clone()).await?;
        let bytes = parsed.as_ref().map_or(0, |parsed| parsed.statement.bytes());
        // Counted before pgwire keeps the statement: a connection beyond its limits must not grow.
        kept(client).put(SessionItemKind::Statement, name, bytes)?;
        match parsed {
            Some(parsed) => client.portal_store().put_statement(Arc::new(parsed)),
            None => client.portal_store().put_empty_statement(name),
        }
        let complete = ParseComplete::new();
        Ok(client.send(PgWireBackendMessage::ParseComplete(complete)).await?)
    }

    async fn on_bind<C>(&self, client: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = PreparedStatement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let of = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        let name = message.portal_name.as_deref().unwrap_or(DEFAULT_NAME);
        let missing = || PgWireError::StatementNotFound(of.to_owned());
        let statement = client.portal_store().get_statement(of).ok_or_else(missing)?;
        let portal = match statement {
            Entry::Value(statement) => Some(Portal::try_new(&message, statement)?),
            // An empty text can be prepared and bound, but has no parameters.
            Entry::Empty if message.parameters.is_empty() => None,
            Entry::Empty => {
                let text =
                    format!("{} parameters are given, 0 are needed", message.parameters.len());
                return Err(failure("08P01", text));
            }
        };
        let bytes = |value: &Option<Bytes>| {
            size_of::<Option<Bytes>>() + value.as_ref().map_or(0, Bytes::len)
        };
        let bytes = message.parameters.iter().map(bytes).sum();
        // Counted before pgwire keeps the portal, for the same reason as a statement.
        kept(client).put(SessionItemKind::Portal, name, bytes)?;
        match portal {
            Some(portal) => client.portal_store().put_portal(Arc::new(portal)),
            None => client.portal_store().put_empty_portal(name),
        }
        let complete = BindComplete::new();
        Ok(client.send(PgWireBackendMessage::BindComplete(complete)).await?)
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = PreparedStatement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => {
                kept(client).remove(SessionItemKind::Statement, name);
                client.portal_store().rm_statement(name);
            }
            _ => {
                kept(client).remove(SessionItemKind::Portal, name);
                client.portal_store().rm_portal(name);
            }
        }
        Ok(client.send(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?)
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<PreparedStatement>,
        _rows_max: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = PreparedStatement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let source = self.parser.source(client)?;
        let prepared = &portal.statement.statement;
        let SqlStatement::Query(others) = &prepared.statement else {
            return about_session(client, &prepared.statement);
        };
        let values = parameters::values(portal, &prepared.parameters)?;
        let format = &portal.result_column_format;
        let rows = self.parser.query(source, &prepared.text, others, values, format).await;
        let rows = rows.map_err(|error| failure::of(&error, &prepared.text))?;
        Ok(Response::Query(answer::response(rows, format, prepared.text.clone())?))
    }
}

#[cfg(test)]
mod tests {
    use pgwire::api::DefaultClient;
    use pgwire::error::ErrorInfo;
    use sql::{PartitionView, Principal, SqlOptions};

    use super::*;

    /// A user who may log in.
    struct Root(Principal);

    impl StoreSource for Root {
        fn fresh(&self) -> sql::FreshPartitions<'_> {
            Box::pin(async { Ok(Vec::<PartitionView>::new()) })
        }

        fn asker(&self) -> &Principal {
            &self.0
        }
    }

    struct Everybody;

    impl Accounts for Everybody {
        fn secret_key(&self, _: &str) -> Option<String> {
            None
        }

        fn source(&self, access_key: &str) -> Option<Arc<dyn StoreSource>> {
            let (name, id) = (access_key.to_owned(), access_key.to_owned());
            Some(Arc::new(Root(Principal { name, id, is_operator: true })))
        }

        fn denied(&self, _: &str, _: std::net::SocketAddr, _: &str) {}
    }

    /// The name in a client's startup message is not a login.
    #[test]
    fn only_a_finished_login_asks() {
        let engine = Arc::new(SqlEngine::new(&SqlOptions::default()).expect("an engine"));
        let handler = QueryHandler::new(engine, Arc::new(Everybody), false);
        let mut client: DefaultClient<PreparedStatement> =
            DefaultClient::new(([127, 0, 0, 1], 0).into(), false);
        client.metadata_mut().insert(METADATA_USER.into(), "root".into());
        let refused = handler.parser.source(&client).err().map(ErrorInfo::from);
        assert_eq!(refused.map(|info| info.code).as_deref(), Some("28000"));
        client.session_extensions().insert(FinishedLogin { access_key: "alice".into() });
        let source = handler.parser.source(&client).expect("a source");
        assert_eq!(
            source.asker().id,
            "alice",
            "whose secret key was proved, not whose name was told"
        );
    }
}
