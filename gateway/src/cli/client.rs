//! What the commands ask of a running server: on its admin address, and in SQL on its S3 address, too.

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

/// A connection that is given up gets so long to end.
const CONNECTION_END: Duration = Duration::from_millis(10);

/// An access key and its secret key.
pub type KeyPair = (String, Secret);

/// Posts to the admin address and prints the answer, which is short.
pub fn post(admin: &str, path: &str) -> anyhow::Result<ExitCode> {
    print!("{}", short(admin, http::Request::post(path))?);
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Where a server is asked in SQL.
#[derive(clap::Args)]
pub struct SqlAddress {
    /// The server's admin address, on the same machine.
    #[arg(long, default_value = "http://127.0.0.1:9001")]
    admin: String,
    /// Instead: the server's S3 address, from any machine; requests are signed.
    #[arg(long, conflicts_with = "admin")]
    endpoint: Option<String>,
    /// With an S3 address: the region that the server expects.
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    region: String,
}

/// A server that is asked in SQL, with somebody's keys.
pub struct SqlClient {
    address: SqlAddress,
    keys: KeyPair,
    runtime: Runtime,
}

impl SqlClient {
    /// The server at an address.
    pub fn new(address: SqlAddress, keys: KeyPair) -> anyhow::Result<Self> {
        Ok(Self { address, keys, runtime: runtime()? })
    }

    /// Sends a query; gives the answer if it is a success.
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

    /// Runs a query and hands its answer over as it comes: first its headers. An interrupt ends it.
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
                    let frame = frame.context("the answer broke off; this is not all of it")?;
                    if let Ok(bytes) = frame.into_data() {
                        piece(bytes)?;
                    }
                }
                Ok(())
            };
            tokio::select! {
                answered = answer => answered,
                _ = tokio::signal::ctrl_c() => {
                    // The connection ends in a task of its own, which runs only while this one waits; and
                    // only then does the server learn that nobody wants the answer.
                    tokio::time::sleep(CONNECTION_END).await;
                    bail!("the query was ended")
                }
            }
        })
    }

    /// Runs a query and copies its answer to standard output as it comes.
    pub fn run(&self, query: &str, format: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        self.stream(query, format, |_| Ok(()), |bytes| Ok(out.write_all(&bytes)?))?;
        Ok(out.flush()?)
    }

    /// Runs a query; gives its answer, which is short.
    pub fn text(&self, query: &str, format: &str) -> anyhow::Result<String> {
        self.runtime.block_on(async {
            let answer = self.ask(query, format).await?;
            let text = answer.into_body().collect().await?.to_bytes();
            Ok(String::from_utf8_lossy(&text).into_owned())
        })
    }
}

/// Gets something short from the admin address.
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

/// Host and port of an address.
fn host(address: &str) -> anyhow::Result<&str> {
    if address.starts_with("https://") {
        bail!("{address}: there is no TLS here");
    }
    Ok(address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/'))
}

/// Sends a request with a body of text; gives the answer if it is a success.
async fn send(
    address: &str,
    request: http::request::Builder,
    body: String,
) -> anyhow::Result<http::Response<Incoming>> {
    // No page in a browser can send this header to another server without asking it first.
    let request = request
        .header("host", host(address)?)
        .header("x-siltstone", "1")
        .header("content-type", "text/plain; charset=utf-8")
        .body(Full::new(Bytes::from(body)))?;
    exchange(address, request).await
}

/// Sends a request; gives the answer if it is a success.
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
