//! A webhook against a real HTTP receiver: what is sent, how it is signed, and what counts as delivered.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail as the test does: by a panic"
)]

use cordon_model::incident::Severity;
use cordon_model::notice::{Audience, Notice};
use cordon_model::units::{ChainId, IncidentId, NoticeId, ProtocolId};
use cordon_notify::{Channel, ChannelConfig};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use std::time::Duration;
use wiremock::matchers::{any, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SENT_AT_S: u64 = 1_700_000_000;

#[tokio::test]
async fn the_receiver_can_verify_what_it_gets() {
    let server = answering(ResponseTemplate::new(204)).await;
    channel(&server.uri(), 5).deliver(&notice(), SENT_AT_S).await.unwrap();

    let requests = server.received_requests().await.unwrap();
    let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    let signature = request.headers["x-cordon-signature"].to_str().unwrap();
    let (time, code) = signature.split_once(",v1=").unwrap();
    assert_eq!(time, "t=1700000000");
    let signed = [b"1700000000.", request.body.as_slice()].concat();
    assert_eq!(code, hex::encode(hmac(SECRET.as_bytes(), &signed)));
    // Another secret or another body does not fit.
    assert_ne!(code, hex::encode(hmac(b"0123456789abcdef0123456789abcdee", &signed)));
    assert_ne!(code, hex::encode(hmac(SECRET.as_bytes(), &signed[..signed.len() - 1])));

    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["format"], 1);
    assert_eq!(body["severity"], "high");
    let id = request.headers["x-cordon-notice-id"].to_str().unwrap();
    assert_eq!(body["id"], id);
    assert_eq!(id, format!("0x{}", "11".repeat(32)));
}

#[test]
fn the_receivers_hmac_is_the_one_of_rfc_4231() {
    // Test case 2 of section 4: the check above is worth as much as the code it compares with.
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(hex::encode(hmac(b"Jefe", b"what do ya want for nothing?")), expected);
}

#[tokio::test]
async fn any_other_status_is_a_failure_by_number() {
    for status in [301, 400, 429, 500, 503] {
        let server = answering(ResponseTemplate::new(status)).await;
        let error = channel(&server.uri(), 5).deliver(&notice(), SENT_AT_S).await.unwrap_err().to_string();
        let host = server.address();
        assert_eq!(error, format!("{host} answered with status {status}, expected 200 to 299"));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = answering(ResponseTemplate::new(200)).await;
    let away = ResponseTemplate::new(307).insert_header("location", elsewhere.uri().as_str());
    let server = answering(away).await;
    let error = channel(&server.uri(), 5).deliver(&notice(), SENT_AT_S).await.unwrap_err().to_string();
    assert!(error.contains("status 307"), "{error}");
    assert!(elsewhere.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_receiver_that_hangs_or_is_away_is_named_without_its_path() {
    let server = answering(ResponseTemplate::new(200).set_delay(Duration::from_secs(30))).await;
    let hanging = channel(&server.uri(), 1).deliver(&notice(), SENT_AT_S).await.unwrap_err().to_string();
    assert!(hanging.starts_with(&format!("{} did not answer: timed out", server.address())), "{hanging}");

    let free_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = channel(&format!("http://127.0.0.1:{free_port}"), 5);
    let error = away.deliver(&notice(), SENT_AT_S).await.unwrap_err();
    let text = format!("{error} {error:?} {away:?}");
    assert!(text.starts_with(&format!("127.0.0.1:{free_port} did not answer: could not connect")), "{text}");
    assert!(!text.contains("token-in-path") && !text.contains(SECRET), "{text}");
}

#[test]
fn a_configuration_says_what_is_wrong_with_it() {
    let cases = [
        (r#"url = "ftp://example.org/x""#, "url of channel 'webhook': expected https"),
        (r#"url = "http://example.org/x""#, "url of channel 'webhook': expected https"),
        (r#"url = "http://localhost.example.org/x""#, "url of channel 'webhook': expected https"),
        (r#"url = "https://me:password@example.org/""#, "expected no user name or password in it"),
        (r#"url = "example.org""#, "expected an absolute URL"),
        (
            "url = \"https://example.org/x\"\ntimeout_s = 0",
            "timeout_s of channel 'webhook' is 0: expected 1 to 60",
        ),
        ("url = \"https://example.org/x\"\nname = \"On Call\"", "name 'On Call': expected 1 to 64"),
    ];
    for (lines, expected) in cases {
        let config = parse(&format!("type = \"webhook\"\nsecret_env = \"S\"\n{lines}")).unwrap();
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("password@") && !error.contains("/x"), "{error}");
    }
    for accepted in ["https://example.org/x", "http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost/"] {
        parse(&format!("type = \"webhook\"\nsecret_env = \"S\"\nurl = \"{accepted}\""))
            .unwrap()
            .check()
            .unwrap();
    }
    let unknown =
        parse("type = \"webhook\"\nsecret = \"plain\"\nsecret_env = \"S\"\nurl = \"https://x\"").unwrap_err();
    assert!(unknown.to_string().contains("unknown field `secret`"), "{unknown}");
    assert!(parse("type = \"telegraph\"").unwrap_err().to_string().contains("telegraph"));
    assert_eq!(parse("type = \"terminal\"").unwrap().name(), "terminal");
    assert!(parse("type = \"terminal\"\ncolour = 1").is_err());
}

#[test]
fn a_missing_or_weak_secret_is_named_and_a_good_one_is_not_shown() {
    let config = webhook("https://example.org/token-in-path", 5);
    let missing = config.build(&|_| None).unwrap_err().to_string();
    assert_eq!(missing, "secret_env of channel 'webhook': environment variable 'HOOK_SECRET' is not set");
    let weak = config.build(&|_| Some(SecretString::from("short"))).unwrap_err().to_string();
    assert!(weak.ends_with("is too short: expected at least 16 bytes"), "{weak}");
    let text = format!("{config:?} {:?}", config.build(&secret).unwrap());
    assert!(!text.contains(SECRET) && !text.contains("token-in-path"), "{text}");
}

#[test]
fn two_channels_cannot_share_a_name() {
    let twins = [webhook("https://a.example", 5), webhook("https://b.example", 5)];
    let error = ChannelConfig::build_all(&twins, &secret).unwrap_err().to_string();
    assert!(error.starts_with("name 'webhook' is given to two channels"), "{error}");
    let pair = [webhook("https://a.example", 5), parse("type = \"terminal\"").unwrap()];
    assert_eq!(ChannelConfig::build_all(&pair, &secret).unwrap().len(), 2);
}

async fn answering(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let expected = method("POST");
    let json = header("content-type", "application/json");
    Mock::given(expected)
        .and(json)
        .and(path("/token-in-path"))
        .respond_with(answer.clone())
        .mount(&server)
        .await;
    Mock::given(any()).respond_with(ResponseTemplate::new(404)).with_priority(10).mount(&server).await;
    server
}

fn parse(text: &str) -> Result<ChannelConfig, toml::de::Error> {
    toml::from_str(text)
}

fn webhook(url: &str, timeout_s: u64) -> ChannelConfig {
    let text =
        format!("type = \"webhook\"\nsecret_env = \"HOOK_SECRET\"\nurl = \"{url}\"\ntimeout_s = {timeout_s}");
    parse(&text).unwrap()
}

fn secret(name: &str) -> Option<SecretString> {
    (name == "HOOK_SECRET").then(|| SecretString::from(SECRET))
}

fn channel(base: &str, timeout_s: u64) -> Box<dyn Channel> {
    webhook(&format!("{base}/token-in-path"), timeout_s).build(&secret).unwrap()
}

fn notice() -> Notice {
    Notice {
        id: NoticeId([0x11; 32].into()),
        incident: Some(IncidentId([0xab; 32].into())),
        protocol: Some(ProtocolId("lending".to_owned())),
        chain_id: ChainId(1),
        severity: Severity::High,
        audience: Audience::Signers,
        title: "approve the pause".to_owned(),
        lines: vec!["plan pln-00000000".to_owned()],
    }
}

/// HMAC-SHA-256 as RFC 2104 writes it, independent of the library that signs.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64, "longer keys are hashed first; this test needs none");
    let pad = |byte: u8| -> Vec<u8> {
        let mut block = [0u8; 64];
        block[..key.len()].copy_from_slice(key);
        block.iter().map(|b| b ^ byte).collect()
    };
    let inner = Sha256::digest([pad(0x36), message.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}
