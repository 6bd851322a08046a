//! Notices as signed JSON to a URL.
//!
//! In: a notice. Out: one `POST`. Source of the signature: HMAC-SHA-256 (RFC 2104) over time and body, in the header
//! form that Stripe made usual. Must never: follow a redirect (the body would go where the operator did not send
//! it), speak plain HTTP to another machine, or show the secret or the path of the URL.
//!
//! # What a receiver does
//! The request is `POST` with `Content-Type: application/json` and these headers:
//! - `X-Cordon-Signature: t=<Unix seconds>,v1=<hex>`, where `<hex>` is HMAC-SHA-256 in lower-case hex, keyed with
//!   the shared secret, over the bytes of `<Unix seconds>`, a full stop, and the body exactly as received;
//! - `X-Cordon-Notice-Id: 0x<64 hex digits>`, also in the body.
//!
//! It (1) computes the HMAC over the raw body, before parsing it, and compares in constant time; (2) refuses a `t`
//! more than five minutes from its own clock, so that a recorded request cannot be replayed later; (3) answers 2xx
//! without doing anything where it has already accepted this notice id, because a crash between delivery and its
//! record makes Cordon send again; (4) answers 2xx within the timeout, or Cordon tries again.

use crate::channel::{Channel, DeliveryError, DeliveryFuture};
use crate::channels::ChannelConfigError;
use crate::text::Clipped;
use cordon_model::incident::Severity;
use cordon_model::notice::{Audience, Notice};
use cordon_model::units::{ChainId, IncidentId, NoticeId};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::error::Error;
use std::fmt;
use std::time::Duration;
use url::{Host, Url};

/// Version of the body; a receiver refuses a newer one instead of misreading it.
pub const BODY_FORMAT: u32 = 1;

/// Header that carries time and signature.
pub const SIGNATURE_HEADER: &str = "x-cordon-signature";

/// Header that carries the notice's id.
pub const NOTICE_ID_HEADER: &str = "x-cordon-notice-id";

/// Largest body, bytes: what the bounds on the texts of a notice allow, each character escaped as JSON.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Shortest secret, bytes: 128 bits, below which guessing comes into reach (NIST SP 800-107, 5.3.4, asks for keys
/// of at least the security strength).
const SECRET_BYTES_MIN: usize = 16;

/// Bounds of the timeout, seconds. The upper one keeps a hanging receiver from delaying the other notices.
const TIMEOUT_S: (u64, u64) = (1, 60);

/// `[[channel]]` with `type = "webhook"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Name of the channel.
    #[serde(default = "default_name")]
    pub name: String,
    /// Where to send: https, or http on the machine itself.
    pub url: WebhookUrl,
    /// Environment variable that holds the secret of the signature.
    pub secret_env: String,
    /// Longest wait for an answer, seconds.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
}

fn default_name() -> String {
    "webhook".to_owned()
}

/// Common receivers allow themselves ten seconds or less; a slower one is as good as down in an incident.
fn default_timeout_s() -> u64 {
    10
}

/// A URL as typed. Its debug text hides it, since many services put a token into the path.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct WebhookUrl(pub String);

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = Url::parse(&self.0).ok().map_or_else(|| "no URL".to_owned(), |url| authority(&url));
        write!(f, "WebhookUrl({host}, path hidden)")
    }
}

impl WebhookConfig {
    pub(crate) fn check(&self) -> Result<(), ChannelConfigError> {
        self.parse_url()?;
        let (least, most) = TIMEOUT_S;
        if !(least..=most).contains(&self.timeout_s) {
            let (channel, found) = (self.name.clone(), self.timeout_s);
            return Err(ChannelConfigError::Range { channel, key: "timeout_s", found, least, most });
        }
        if self.secret_env.is_empty() || self.secret_env.contains(['=', '\0']) {
            return Err(self.secret_problem("is no name of a variable"));
        }
        Ok(())
    }

    pub(crate) fn build(
        &self,
        secret: &dyn Fn(&str) -> Option<SecretString>,
    ) -> Result<WebhookChannel, ChannelConfigError> {
        let url = self.parse_url()?;
        let secret = secret(&self.secret_env).ok_or_else(|| self.secret_problem("is not set"))?;
        if secret.expose_secret().len() < SECRET_BYTES_MIN {
            return Err(self.secret_problem("is too short: expected at least 16 bytes"));
        }
        let timeout = Duration::from_secs(self.timeout_s);
        let mut client =
            reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
        client = if is_loopback(&url) { client.no_proxy() } else { client.https_only(true) };
        let built = client.build();
        let client =
            built.map_err(|source| ChannelConfigError::Client { channel: self.name.clone(), source })?;
        Ok(WebhookChannel { name: self.name.clone(), host: authority(&url), url, secret, client })
    }

    fn parse_url(&self) -> Result<Url, ChannelConfigError> {
        let wrong = |reason| ChannelConfigError::Url { channel: self.name.clone(), reason };
        let url = Url::parse(&self.url.0)
            .map_err(|_| wrong("expected an absolute URL such as https://host/path"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("expected no user name or password in it: the request is signed instead"));
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_loopback(&url) => Ok(url),
            _ => {
                Err(wrong("expected https (http only to localhost): notices tell an attacker what is known"))
            }
        }
    }

    fn secret_problem(&self, problem: &'static str) -> ChannelConfigError {
        ChannelConfigError::Secret { channel: self.name.clone(), variable: self.secret_env.clone(), problem }
    }
}

/// Sends notices to one URL.
pub struct WebhookChannel {
    name: String,
    host: String,
    url: Url,
    secret: SecretString,
    client: reqwest::Client,
}

impl fmt::Debug for WebhookChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookChannel")
            .field("name", &self.name)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Channel for WebhookChannel {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver<'a>(&'a self, notice: &'a Notice, sent_at_s: u64) -> DeliveryFuture<'a> {
        Box::pin(self.post(notice, sent_at_s))
    }
}

impl WebhookChannel {
    async fn post(&self, notice: &Notice, sent_at_s: u64) -> Result<(), DeliveryError> {
        let body = body(notice).map_err(DeliveryError::Render)?;
        let signature = sign(&self.secret, sent_at_s, body.as_bytes());
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, signature)
            .header(NOTICE_ID_HEADER, notice.id.0.to_string())
            .body(body);
        // The answer's body is not read: it says nothing that matters, and it may be endless.
        let status = request.send().await.map_err(|error| self.unreachable(&error))?.status();
        if status.is_success() {
            return Ok(());
        }
        Err(DeliveryError::Status { host: self.host.clone(), status: status.as_u16() })
    }

    fn unreachable(&self, error: &reqwest::Error) -> DeliveryError {
        // The error's own text names the URL, its innermost cause does not.
        let mut cause: Option<&dyn Error> = error.source();
        while let Some(inner) = cause.and_then(Error::source) {
            cause = Some(inner);
        }
        let cause = cause.map_or_else(String::new, |cause| format!(" ({cause})"));
        let kind = match error {
            error if error.is_timeout() => "timed out",
            error if error.is_connect() => "could not connect",
            _ => "the exchange broke off",
        };
        DeliveryError::Unreachable { host: self.host.clone(), reason: format!("{kind}{cause}") }
    }
}

/// What is sent. It is not the log's own shape, so that either may change without the other.
#[derive(Serialize)]
struct Body<'a> {
    format: u32,
    id: NoticeId,
    incident: Option<IncidentId>,
    incident_short: Option<String>,
    protocol: Option<&'a str>,
    chain_id: ChainId,
    severity: Severity,
    audience: Audience,
    title: &'a str,
    lines: &'a [String],
}

/// The JSON of a notice, at most [`BODY_BYTES_MAX`] long. Text from a chain stands in it as it is, escaped as JSON
/// demands: the receiver escapes it once more for wherever it shows it.
fn body(notice: &Notice) -> Result<String, serde_json::Error> {
    let Clipped { protocol, title, lines } = Clipped::new(notice);
    serde_json::to_string(&Body {
        format: BODY_FORMAT,
        id: notice.id,
        incident: notice.incident,
        incident_short: notice.incident.map(|incident| incident.short()),
        protocol: protocol.as_deref(),
        chain_id: notice.chain_id,
        severity: notice.severity,
        audience: notice.audience,
        title: &title,
        lines: &lines,
    })
}

/// The signature header's value for a body that is sent at `sent_at_s`, Unix seconds.
fn sign(secret: &SecretString, sent_at_s: u64, body: &[u8]) -> String {
    let time = sent_at_s.to_string();
    let code = hmac_sha256(secret.expose_secret().as_bytes(), &[time.as_bytes(), b".", body]);
    format!("t={time},v1={}", hex::encode(code))
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut code = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        code.update(part);
    }
    code.finalize().into_bytes().into()
}

/// Host and port, the part of a URL that may be shown.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("no host");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        // RFC 6761, 6.3: this name and no other resolves to the loopback interface.
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_model::units::ProtocolId;

    fn notice(lines: Vec<String>) -> Notice {
        Notice {
            id: NoticeId([0x11; 32].into()),
            incident: Some(IncidentId([0xab; 32].into())),
            protocol: Some(ProtocolId("lending".to_owned())),
            chain_id: ChainId(1),
            severity: Severity::Critical,
            audience: Audience::Responders,
            title: "value leaves the lending vault".to_owned(),
            lines,
        }
    }

    #[test]
    fn the_body_is_version_1() {
        let expected = concat!(
            r#"{"format":1,"id":"0x1111111111111111111111111111111111111111111111111111111111111111","#,
            r#""incident":"0xabababababababababababababababababababababababababababababababab","#,
            r#""incident_short":"inc-abababab","protocol":"lending","chain_id":1,"severity":"critical","#,
            r#""audience":"responders","title":"value leaves the lending vault","#,
            r#""lines":["lost: 1250 USD","symbol \u001b[2J \"x\""]}"#
        );
        let lines = vec!["lost: 1250 USD".to_owned(), "symbol \u{1b}[2J \"x\"".to_owned()];
        assert_eq!(body(&notice(lines)).unwrap(), expected);
    }

    #[test]
    fn the_largest_body_is_bounded() {
        let mut worst = notice(vec!["\u{1}".repeat(5_000); 500]);
        worst.title = "\u{1}".repeat(5_000);
        worst.protocol = Some(ProtocolId("\u{1}".repeat(5_000)));
        let size = body(&worst).unwrap().len();
        assert!(size <= BODY_BYTES_MAX, "{size}");
    }

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        // Test cases 1, 2 and 6 (a key longer than the block) of section 4.
        let cases: [(&[u8], &[u8], &str); 3] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, expected) in cases {
            assert_eq!(hex::encode(hmac_sha256(key, &[message])), expected);
            // In parts as well: the signature is computed over three.
            let (first, rest) = message.split_at(3);
            assert_eq!(hex::encode(hmac_sha256(key, &[first, rest])), expected);
        }
    }
}
