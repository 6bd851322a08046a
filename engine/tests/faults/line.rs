//! Just enough HTTP/1.1 to stand between a client and a server and get it wrong on purpose.
//!
//! In: a socket. Out: one request at a time. A library would refuse to send what these tests must send: bodies that
//! are cut off, and connections that end in the middle.

use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Largest request that is read: a deployment with its code is far smaller.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// What came in.
#[derive(Debug)]
pub(crate) struct Request {
    /// Lines before the body, in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Value of a header, in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
    }
}

/// Reads one request; `None` where the client closed the connection.
pub(crate) async fn read_request(stream: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
    let mut request = Request { head, body: bytes.split_off(head_end) };
    let length: usize = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while request.body.len() < length {
        if length > REQUEST_BYTES_MAX || stream.read_buf(&mut request.body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(request))
}

/// Writes an answer that states `length` bytes and holds `body`.
pub(crate) async fn write_answer(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    length: usize,
    body: &[u8],
) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    stream.flush().await
}
