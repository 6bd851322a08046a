//! The seam behind which chains are read.
//!
//! In: the caller's cursor. Out: the one update that comes next. A source must never hold the truth about how far a
//! chain was judged: after a crash the stored cursor alone decides where to go on.

use crate::error::SourceError;
use cordon_model::block::ChainUpdate;
use cordon_model::log::Cursor;
use futures::future::BoxFuture;

/// What a source has to say after a cursor.
#[derive(Debug, Clone)]
pub enum Advance {
    /// The next update. The caller applies it to its cursor once it is judged, then asks again.
    Update(ChainUpdate),
    /// Nothing for now; [`ChainSource::wait`] tells when to ask again.
    AtHead,
    /// Nothing, ever: an archive is finished.
    End,
}

/// A place from which a chain can be followed.
pub trait ChainSource: Send {
    /// The one update that follows the cursor: the next block by number where it builds on the cursor's head, else
    /// the revert of that head. Asking twice with the same cursor gives the same answer as long as the chain does not
    /// change.
    ///
    /// # Errors
    /// [`SourceError::is_transient`] tells whether asking again later can help.
    fn advance<'a>(&'a mut self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Advance, SourceError>>;

    /// Resolves when there may be something new. It is a hint: it may come late, twice or for nothing.
    ///
    /// # Errors
    /// Sources report what is lost with the hint only; a lost hint itself is no error.
    fn wait(&mut self) -> BoxFuture<'_, Result<(), SourceError>>;
}
