//! The HTTP client of the commands: requests to the admin address of a server, and SQL to the admin or the S3 address.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::secret::Secret;

/// The time in which a connection that is given up is closed.
const CONNECTION_END: Duration = Duration::from_millis(10);

/// An access key and its secret key.
pub type KeyPair = (String, Secret);

/// Sends a POST to the admin address and prints the response, all of which is kept in memory. Fails if the server
/// cannot be reached, and for a status other than success, with the text of the response.
pub fn post(admin: &str, path: &str) -> anyhow::Result<ExitCode> {
    print!("{}", short(admin, http::Request::post(path))?);
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// The address to which queries are sent.
#[derive(clap::Args)]
pub struct SqlAddress {
    /// The server's admin address, which is reached on the same machine only.
    #[arg(long, default_value = "http://127.0.0.1:9001")]
    admin: String,
    /// The server's S3 address instead of its admin address, for use from other machines. Requests are signed.
    #[arg(long, conflicts_with = "admin")]
    endpoint: Option<String>,
    /// The region that the server expects in signatures, with --endpoint.
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    region: String,
}

/// A client that sends queries to one server with one user's keys.
pub struct SqlClient {
    address: SqlAddress,
    keys: KeyPair,
    runtime: Runtime,
}

impl SqlClient {
    /// Makes a client without connecting. Fails if the runtime of the client cannot be started.
    pub fn new(address: SqlAddress, keys: KeyPair) -> anyhow::Result<Self> {
        Ok(Self { address, keys, runtime: runtime()? })
    }

    /// Sends a query and returns the response. Fails for a status other than success.
    async fn ask(&self, query: &str, format: &str) -> anyhow::Result<http::Response<Incoming>> {
        let (access_key, secret_key) = (&self.keys.0, self.keys.1.expose());
        let Some(endpoint) = &self.address.endpoint else {
            let pair = format!("{access_key}:{secret_key}");
            let pair = base64::prelude::BASE64_STANDARD.encode(pair);
            let request = http::Request::post(format!("/sql?format={format}"))
                .header("authorization", format!("Basic {pair}"));
            return send(&self.address.admin, request, query.to_owned()).await;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
        let path = "/-/sql";
        let request = http::Request::post(format!("{path}?format={format}"))
            .header("host", host(endpoint)?)
            .header("x-amz-date", s3::time::amz(now))
            .header("x-amz-content-sha256", hex::encode(Sha256::digest(query)))
            .body(())?;
        let (mut parts, ()) = request.into_parts();
        let names = [("format".to_owned(), format.to_owned())];
        let region = &self.address.region;
        let signed = s3::sigv4::sign(&parts, path, &names, access_key, secret_key, region);
        let signed = signed.context("the request cannot be signed")?;
        parts.headers.insert("authorization", signed.parse()?);
        let body = Full::new(Bytes::from(query.to_owned()));
        exchange(endpoint, http::Request::from_parts(parts, body)).await
    }

    /// Runs a query and passes the response on as it arrives: first its headers to `head`, then its bytes to
    /// `piece`, in order. Fails if the query fails, if the response ends early, if `head` or `piece` fails, and on
    /// Ctrl-C, which closes the connection, so that the server cancels the query.
    pub fn stream(
        &self,
        query: &str,
        format: &str,
        mut head: impl FnMut(&http::HeaderMap) -> anyhow::Result<()>,
        mut piece: impl FnMut(Bytes) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let answer = async {
                let answer = self.ask(query, format).await?;
                head(answer.headers())?;
                let mut body = answer.into_body();
                while let Some(frame) = body.frame().await {
                    let frame = frame.context("the response ended early and is incomplete")?;
                    if let Ok(bytes) = frame.into_data() {
                        piece(bytes)?;
                    }
                }
                Ok(())
            };
            tokio::select! {
                answered = answer => answered,
                _ = tokio::signal::ctrl_c() => {
                    // The task of the connection runs only while this task waits. Without the wait the socket would
                    // stay open, and the server would continue the query.
                    tokio::time::sleep(CONNECTION_END).await;
                    bail!("the query was ended")
                }
            }
        })
    }

    /// Runs a query and copies the response to standard output as it arrives. Fails as [`Self::stream`], and if
    /// standard output cannot be written; bytes before the failure have been written.
    pub fn run(&self, query: &str, format: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        self.stream(query, format, |_| Ok(()), |bytes| Ok(out.write_all(&bytes)?))?;
        Ok(out.flush()?)
    }

    /// Runs a query and returns the whole response as text, which must fit in memory. Fails if the query fails.
    pub fn text(&self, query: &str, format: &str) -> anyhow::Result<String> {
        self.runtime.block_on(async {
            let answer = self.ask(query, format).await?;
            let text = answer.into_body().collect().await?.to_bytes();
            Ok(String::from_utf8_lossy(&text).into_owned())
        })
    }
}

/// Sends a GET to the admin address and returns the response as text, which must fit in memory. Fails if the server
/// cannot be reached, and for a status other than success.
pub fn get(admin: &str, path: &str) -> anyhow::Result<String> {
    short(admin, http::Request::get(path))
}

fn short(admin: &str, request: http::request::Builder) -> anyhow::Result<String> {
    runtime()?.block_on(async {
        let answer = send(admin, request, String::new()).await?;
        let text = answer.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&text).into_owned())
    })
}

/// The host and port of an address. Fails for `https`, which this client does not support.
fn host(address: &str) -> anyhow::Result<&str> {
    if address.starts_with("https://") {
        bail!("{address}: TLS is not supported");
    }
    Ok(address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/'))
}

/// Sends a request with text as its body and returns the response. Fails for a status other than success.
async fn send(
    address: &str,
    request: http::request::Builder,
    body: String,
) -> anyhow::Result<http::Response<Incoming>> {
    // The header `x-siltstone` shows that the request is not from a web page: a browser sends it to another origin only
    // after the server has permitted that.
    let request = request
        .header("host", host(address)?)
        .header("x-siltstone", "1")
        .header("content-type", "text/plain; charset=utf-8")
        .body(Full::new(Bytes::from(body)))?;
    exchange(address, request).await
}

/// Sends a request on a new connection and returns the response. Fails for a status other than success, with the text
/// of the response.
async fn exchange(
    address: &str,
    request: http::Request<Full<Bytes>>,
) -> anyhow::Result<http::Response<Incoming>> {
    let address = host(address)?;
    let stream = TcpStream::connect(address).await;
    let stream = stream.with_context(|| format!("no server answers on {address}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    if !status.is_success() {
        let text = response.into_body().collect().await?.to_bytes();
        bail!("{} ({status})", String::from_utf8_lossy(&text).trim());
    }
    Ok(response)
}
