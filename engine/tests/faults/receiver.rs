//! The receiver of notices: a real HTTP server that checks every signature, and fails when it is told to.
//!
//! In: webhooks. Out: what was accepted, and how often. It accepts a notice only where its HMAC fits.

use crate::line::{Request, read_request, write_answer};
use alloy_primitives::hex;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// The variable that holds the secret. Setting one is unsafe while other threads run, so the tests take one that cargo
/// sets for every test, and that is long enough.
pub(crate) const SECRET_ENV: &str = "CARGO_PKG_DESCRIPTION";
const SECRET: &str = env!("CARGO_PKG_DESCRIPTION");

/// How the receiver fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ailment {
    /// It answers 500.
    Broken,
    /// It takes the request and never answers.
    Hanging,
    /// It is being restarted: connections end at once.
    Away,
    /// It accepts the notice, and its answer is lost on the way.
    AnswerLost,
}

#[derive(Debug, Default)]
struct Book {
    ailment: Option<Ailment>,
    /// The process dies right after this many more notices were accepted.
    dies_at: Option<u64>,
    /// Accepted and answered, by notice.
    acknowledged: BTreeMap<String, u64>,
    /// Accepted, whether or not the answer arrived, by notice.
    accepted: BTreeMap<String, u64>,
    forged: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    book: Mutex<Book>,
    ailing: AtomicU64,
    pub(crate) busy: AtomicBool,
    pub(crate) death: Notify,
}

impl Receiver {
    pub(crate) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Arc::new(Self {
            url,
            book: Mutex::default(),
            ailing: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            death: Notify::new(),
        });
        let serving = Arc::clone(&receiver);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        receiver
    }

    /// Forgets everything before the next schedule.
    pub(crate) fn clear(&self) {
        *self.book.lock().unwrap() = Book::default();
        self.ailing.store(0, Ordering::SeqCst);
    }

    pub(crate) fn ail(&self, ailment: Option<Ailment>) {
        self.book.lock().unwrap().ailment = ailment;
    }

    /// The process dies when the receiver accepted `count` more notices, before it hears of the last one.
    pub(crate) fn kill_after(&self, count: Option<u64>) {
        self.book.lock().unwrap().dies_at = count;
    }

    /// How often the ailment showed.
    pub(crate) fn ailed(&self) -> u64 {
        self.ailing.load(Ordering::SeqCst)
    }

    /// How often each notice was accepted and answered.
    pub(crate) fn acknowledged(&self) -> BTreeMap<String, u64> {
        self.book.lock().unwrap().acknowledged.clone()
    }

    /// How often each notice was accepted.
    pub(crate) fn accepted(&self) -> BTreeMap<String, u64> {
        self.book.lock().unwrap().accepted.clone()
    }

    /// Requests whose signature did not fit.
    pub(crate) fn forged(&self) -> Vec<String> {
        self.book.lock().unwrap().forged.clone()
    }

    async fn serve(&self, mut stream: TcpStream) {
        while let Ok(Some(request)) = read_request(&mut stream).await {
            let Some(status) = self.judge(&request).await else { return };
            let written = write_answer(&mut stream, status, "", 0, b"").await;
            self.busy.store(false, Ordering::SeqCst);
            if written.is_err() {
                return;
            }
        }
    }

    /// The status to answer with; `None` where the connection ends without an answer.
    async fn judge(&self, request: &Request) -> Option<&'static str> {
        let (ailment, dies) = {
            let mut book = self.book.lock().unwrap();
            let dies = book.dies_at.is_some_and(|left| left <= 1);
            book.dies_at = book.dies_at.map(|left| left.saturating_sub(1)).filter(|left| *left > 0);
            (book.ailment, dies)
        };
        if ailment.is_some() {
            self.ailing.fetch_add(1, Ordering::SeqCst);
        }
        match ailment {
            Some(Ailment::Broken) => return Some("500 Internal Server Error"),
            Some(Ailment::Hanging) => std::future::pending().await,
            Some(Ailment::Away) => return None,
            Some(Ailment::AnswerLost) | None => {}
        }
        self.busy.store(true, Ordering::SeqCst);
        let id = request.header("x-cordon-notice-id").unwrap_or_default().to_owned();
        if !is_signed(request) {
            self.book.lock().unwrap().forged.push(id);
            self.busy.store(false, Ordering::SeqCst);
            return Some("401 Unauthorized");
        }
        let mut book = self.book.lock().unwrap();
        *book.accepted.entry(id.clone()).or_default() += 1;
        let lost = ailment == Some(Ailment::AnswerLost);
        if dies || lost {
            self.busy.store(false, Ordering::SeqCst);
            if dies {
                self.death.notify_one();
            }
            return None;
        }
        *book.acknowledged.entry(id).or_default() += 1;
        Some("204 No Content")
    }
}

/// Whether the signature is that of the body, as a receiver checks it.
fn is_signed(request: &Request) -> bool {
    let signed = || {
        let (time, code) = request.header("x-cordon-signature")?.strip_prefix("t=")?.split_once(",v1=")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).ok()?;
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(&request.body);
        mac.verify_slice(&hex::decode(code).ok()?).ok()
    };
    signed().is_some()
}
