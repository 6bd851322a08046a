//! How long data becomes under FastLZ (level 1), without compressing it.
//!
//! In: bytes. Out: the length that the OP stack's fee since Fjord is estimated from. Every OP-stack client must come to
//! the same number, so it follows solady's `LibZip`, which op-geth (`FlzCompressLen` in `core/types/rollup_cost.go`)
//! ports: what that leaves out for speed is left out here too. Must never: depend on anything but the bytes.

/// Places that the table of earlier sequences holds; a power of two.
const TABLE_LEN: usize = 1 << 13;
/// Multiplier of the table's hash (Knuth's, 2^32 divided by the golden ratio).
const HASH_FACTOR: u32 = 2_654_435_769;
/// Bits of the product that the hash drops, so that [`TABLE_LEN`] values are left.
const HASH_SHIFT: u32 = 19;
/// Bytes at the end that never start a match.
const TAIL: usize = 13;
/// Bytes at the end that no match reaches into.
const UNMATCHED_TAIL: usize = 4;
/// Distance from which on an earlier sequence cannot be referred to.
const MAX_DISTANCE: usize = 8_192;
/// Bytes of a sequence that the table finds.
const SEQUENCE: usize = 3;
/// Most literals behind one length byte.
const LITERAL_RUN: usize = 32;
/// Bytes that one long match covers beyond its first, and its cost.
const LONG_MATCH: (usize, u64) = (262, 3);
/// From this rest on a match needs a length byte of its own.
const EXTENDED_MATCH: usize = 6;

/// Positions of the last sequence of each hash; a new table says that everything was seen at the very start, which the
/// comparison of the bytes corrects.
struct Seen(Vec<usize>);

impl Seen {
    /// Where a sequence of this hash stood last; it stands at `at` from now on.
    fn replace(&mut self, sequence: u32, at: usize) -> usize {
        let hash = sequence.wrapping_mul(HASH_FACTOR) >> HASH_SHIFT;
        let place = usize::try_from(hash).ok().and_then(|hash| self.0.get_mut(hash));
        place.map_or(0, |place| std::mem::replace(place, at))
    }
}

/// Length of the data after compression, in bytes.
pub(super) fn compressed_len(data: &[u8]) -> u64 {
    let mut seen = Seen(vec![0; TABLE_LEN]);
    let limit = data.len().saturating_sub(TAIL);
    let mut len = 0u64;
    // Bytes before it are accounted for.
    let mut anchor = 0usize;
    let mut at = 2usize;
    while let Some((start, earlier)) = next_match(data, &mut seen, at, limit) {
        len = len.saturating_add(literals(start.saturating_sub(anchor)));
        let run = common_run(data, earlier, start);
        len = len.saturating_add(matched(run));
        at = start.saturating_add(run);
        for _ in 0..2 {
            seen.replace(sequence_at(data, at), at);
            at = at.saturating_add(1);
        }
        anchor = at;
    }
    len.saturating_add(literals(data.len().saturating_sub(anchor)))
}

/// The next place before the limit whose sequence stood earlier within reach, and where it stood.
fn next_match(data: &[u8], seen: &mut Seen, from: usize, limit: usize) -> Option<(usize, usize)> {
    // A match right before the limit is not taken any more.
    (from..limit.saturating_sub(1)).find_map(|at| {
        let sequence = sequence_at(data, at);
        let earlier = seen.replace(sequence, at);
        let is_near = at.saturating_sub(earlier) < MAX_DISTANCE;
        (is_near && sequence == sequence_at(data, earlier)).then_some((at, earlier))
    })
}

/// Bytes by which a match goes on, counted as the format counts them: those after the sequence, and the first that
/// differs.
fn common_run(data: &[u8], earlier: usize, start: usize) -> usize {
    let end = data.len().saturating_sub(UNMATCHED_TAIL);
    let later = data.get(start.saturating_add(SEQUENCE)..end).unwrap_or_default();
    let before = data.get(earlier.saturating_add(SEQUENCE)..).unwrap_or_default();
    match later.iter().zip(before).position(|(a, b)| a != b) {
        Some(same) => same.saturating_add(1),
        None => later.len(),
    }
}

/// Cost of bytes that are written as they are.
fn literals(count: usize) -> u64 {
    let (full, rest) = (count / LITERAL_RUN, count % LITERAL_RUN);
    let rest = if rest > 0 { rest.saturating_add(1) } else { 0 };
    let bytes = full.saturating_mul(LITERAL_RUN + 1).saturating_add(rest);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Cost of a match.
fn matched(run: usize) -> u64 {
    let beyond = run.saturating_sub(1);
    let (covered, cost) = LONG_MATCH;
    let long = u64::try_from(beyond / covered).unwrap_or(u64::MAX).saturating_mul(cost);
    long.saturating_add(if beyond % covered >= EXTENDED_MATCH { 3 } else { 2 })
}

fn sequence_at(data: &[u8], at: usize) -> u32 {
    match data.get(at..) {
        Some([a, b, c, ..]) => u32::from_le_bytes([*a, *b, *c, 0]),
        _ => 0,
    }
}
