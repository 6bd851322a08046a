//! What the engine says while it runs: kept for whoever looks at a failure, and searched for the node's key.
//!
//! In: events of `tracing`. Out: the newest lines. Must never print by itself.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept.
const LINES_MAX: usize = 4_000;

/// The newest lines of everything that was said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<VecDeque<String>>>);

impl Trace {
    /// Starts listening. There is one listener in a process.
    pub(crate) fn listen() -> Self {
        let trace = Self::default();
        let filter = std::env::var("CORDON_FAULT_LOG").unwrap_or_else(|_| "info,cordon=debug".to_owned());
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_ansi(false)
            .with_writer(trace.clone())
            .finish();
        // A second test of this process listens to the first one's lines, which is as good.
        tracing::subscriber::set_global_default(subscriber).ok();
        trace
    }

    /// Everything since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        self.0.lock().unwrap().drain(..).collect()
    }
}

/// One event on its way to the lines.
#[derive(Debug)]
pub(crate) struct Line(Trace, Vec<u8>);

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = self.0.0.lock().unwrap();
        lines.push_back(String::from_utf8_lossy(&self.1).trim_end().to_owned());
        let excess = lines.len().saturating_sub(LINES_MAX);
        lines.drain(..excess);
    }
}

impl<'a> MakeWriter<'a> for Trace {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(self.clone(), Vec::new())
    }
}
