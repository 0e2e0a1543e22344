//! Answers statements, in both ways of sending them: as a text, and prepared.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{Sink, stream};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, METADATA_USER, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use sql::arrow::datatypes::{Schema, SchemaRef};
use sql::{Engine, Question, Rows, ScalarValue, Source, SqlError, Statement, settings, statements};

use crate::accounts::Accounts;
use crate::answer;
use crate::failure::{self, failure};
use crate::parameters;

/// Answers statements.
pub struct Handler {
    parser: Arc<Parser>,
}

/// A statement that was prepared.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// As it was sent.
    text: String,
    statement: Statement,
    parameters: Vec<Type>,
    schema: SchemaRef,
}

/// Prepares statements.
pub struct Parser {
    engine: Arc<Engine>,
    accounts: Arc<dyn Accounts>,
}

impl Handler {
    pub fn new(engine: Arc<Engine>, accounts: Arc<dyn Accounts>) -> Self {
        Self { parser: Arc::new(Parser { engine, accounts }) }
    }
}

impl Parser {
    fn source<C: ClientInfo>(&self, client: &C) -> PgWireResult<Arc<dyn Source>> {
        let user = client.metadata().get(METADATA_USER);
        let source = user.and_then(|access_key| self.accounts.source(access_key));
        source.ok_or_else(|| failure("28000", "there is no such user any more"))
    }

    /// Runs a query.
    async fn query(
        &self,
        source: Arc<dyn Source>,
        text: &str,
        others: &[String],
        values: Vec<ScalarValue>,
    ) -> Result<Rows, SqlError> {
        first_that_means_something(text, others, |text| {
            self.engine.query(source.clone(), Question { text, parameters: values.clone() })
        })
        .await
    }
}

/// Tries a query in the client's own words, then in ours where those mean nothing here. If none does, the
/// error is that of the client's own: it tells a place in them.
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

/// Answers what concerns the session and no rows.
fn about_session(statement: &Statement) -> PgWireResult<Response> {
    Ok(match statement {
        Statement::Begin => Response::TransactionStart(Tag::new("BEGIN")),
        Statement::Commit => Response::TransactionEnd(Tag::new("COMMIT")),
        Statement::Rollback => Response::TransactionEnd(Tag::new("ROLLBACK")),
        Statement::Savepoint => Response::Execution(Tag::new("SAVEPOINT")),
        Statement::Release => Response::Execution(Tag::new("RELEASE")),
        // The transaction goes on.
        Statement::RollbackTo => Response::TransactionStart(Tag::new("ROLLBACK")),
        Statement::Set(name, value) if settings::is_fixed(name, value) => {
            return Err(failure("0A000", format!("{name} is fixed here, it cannot be {value}")));
        }
        Statement::Set(..) => Response::Execution(Tag::new("SET")),
        Statement::Deallocate(_) => Response::Execution(Tag::new("DEALLOCATE")),
        Statement::Discard => Response::Execution(Tag::new("DISCARD ALL")),
        Statement::Show(name) => return shown(name),
        Statement::Query(_) => return Err(failure("XX000", "a query is answered elsewhere")),
    })
}

fn shown_field(name: &str) -> FieldInfo {
    FieldInfo::new(name.to_owned(), None, None, Type::TEXT, FieldFormat::Text)
}

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
impl SimpleQueryHandler for Handler {
    async fn do_query<C>(&self, client: &mut C, text: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let source = self.parser.source(client)?;
        let parsed = statements(text).map_err(|error| failure::of(&error, text))?;
        let is_alone = parsed.len() == 1;
        if parsed.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        let mut responses = Vec::new();
        for statement in parsed {
            let response = match &statement {
                Statement::Query(others) => {
                    // Of several statements only ours stand alone.
                    let own = if is_alone { text } else { others.first().map_or(text, |o| o) };
                    let rows = self.parser.query(source.clone(), own, others, Vec::new()).await;
                    let rows = rows.map_err(|error| failure::of(&error, own))?;
                    Response::Query(answer::response(rows, &Format::UnifiedText, own.to_owned())?)
                }
                other => about_session(other)?,
            };
            responses.push(response);
        }
        Ok(responses)
    }
}

#[async_trait]
impl QueryParser for Parser {
    type Statement = Prepared;

    async fn parse_sql<C>(
        &self,
        client: &C,
        text: &str,
        wished: &[Option<Type>],
    ) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let source = self.source(client)?;
        let told = |error: &SqlError| failure::of(error, text);
        let mut parsed = statements(text).map_err(|error| told(&error))?;
        if parsed.len() > 1 {
            return Err(failure("42601", "only one statement can be prepared at a time"));
        }
        let Some(statement) = parsed.pop() else { return Ok(None) };
        let mut prepared = Prepared {
            text: text.to_owned(),
            statement,
            parameters: Vec::new(),
            schema: Arc::new(Schema::empty()),
        };
        let Statement::Query(others) = &prepared.statement else { return Ok(Some(prepared)) };
        let described = first_that_means_something(text, others, |text| {
            self.engine.describe(source.clone(), text)
        });
        let described = described.await.map_err(|error| told(&error))?;
        let count = described.parameters.len().max(wished.len());
        let wire = |at: usize| {
            let found = described.parameters.get(at).and_then(Option::as_ref);
            parameters::wire_type(wished.get(at).and_then(Option::as_ref), found)
        };
        prepared.parameters = (0..count).map(wire).collect();
        prepared.schema = described.schema;
        Ok(Some(prepared))
    }

    fn get_parameter_types(&self, prepared: &Prepared) -> PgWireResult<Vec<Type>> {
        Ok(prepared.parameters.clone())
    }

    fn get_result_schema(
        &self,
        prepared: &Prepared,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        match &prepared.statement {
            Statement::Show(name) => Ok(vec![shown_field(name)]),
            _ => answer::fields(&prepared.schema, format.unwrap_or(&Format::UnifiedText)),
        }
    }
}

#[async_trait]
impl ExtendedQueryHandler for Handler {
    type Statement = Prepared;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        self.parser.clone()
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Prepared>,
        _rows_max: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &portal.statement.statement;
        let Statement::Query(others) = &prepared.statement else {
            return about_session(&prepared.statement);
        };
        let source = self.parser.source(client)?;
        let values = parameters::values(portal, &prepared.parameters)?;
        let rows = self.parser.query(source, &prepared.text, others, values).await;
        let rows = rows.map_err(|error| failure::of(&error, &prepared.text))?;
        let format = &portal.result_column_format;
        Ok(Response::Query(answer::response(rows, format, prepared.text.clone())?))
    }
}
