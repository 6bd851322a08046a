//! What a beacon node says: epochs, missed slots, the sync committee, slashings.
//!
//! In: the standard beacon API over HTTP (ethereum/beacon-APIs): `headers/head`, `states/head/finality_checkpoints`, and
//! `blocks/{slot}` for each new slot, where "not found" is a missed slot. Out: a [`BeaconSight`]. Blocks are fetched by
//! slot and not as `head`, so that a slashing in a block between two looks is not lost. Must never: hold an answer
//! larger than [`BLOCK_BYTES_MAX`], follow a redirect, or show the url, which may hold a key.

use super::{Fault, Part};
use alloy_primitives::hex;
use cordon_model::network::observation::{BeaconSight, FinalityEpochs, SlotBlock, SlotSight};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;
use url::{Host, Url};

/// Most slots that one look catches up with: a minute and a half of Ethereum, at up to a few megabytes each. Older
/// ones are not looked at any more.
const SLOTS_PER_LOOK_MAX: u64 = 8;

/// How far the head may go back before the node is taken for another one, or for one that told a wrong head before:
/// two epochs, which a node in good health never goes back.
const SLOTS_BACK_MAX: u64 = 64;

/// Largest answer about a block. The largest payload the protocol admits is 10 MiB, twice that in hexadecimal; blocks
/// in use have about one.
const BLOCK_BYTES_MAX: usize = 24 << 20;

/// Largest answer about anything else: they have less than a kilobyte.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// HTTP status: not found.
const STATUS_NOT_FOUND: u16 = 404;

/// HTTP status: the node knows no such method, or refuses it to everybody.
const STATUS_NOT_OFFERED: [u16; 2] = [405, 501];

/// A url that cannot be used; the text holds no piece of it.
#[derive(Debug, thiserror::Error)]
#[error("beacon url is not usable: {0}; expected http or https with a host")]
pub struct BeaconUrlError(&'static str);

/// Looks at a beacon node.
pub struct BeaconObserver {
    client: reqwest::Client,
    base: Url,
    /// Scheme, host and port.
    node: String,
    epoch_slots: NonZeroU64,
    /// Newest slot that was looked at.
    seen_slot: Option<u64>,
    head: Part,
    finality: Part,
    blocks: Part,
}

impl fmt::Debug for BeaconObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeaconObserver").field("node", &self.node).finish_non_exhaustive()
    }
}

impl BeaconObserver {
    /// An observer of the beacon node at `url`, each of whose answers must come within `request_timeout`. An epoch of
    /// Ethereum has 32 slots.
    ///
    /// # Errors
    /// The url is not usable.
    pub fn new(
        url: &str,
        request_timeout: Duration,
        epoch_slots: NonZeroU64,
    ) -> Result<Self, BeaconUrlError> {
        let base = Url::parse(url).map_err(|_| BeaconUrlError("it is no absolute url"))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(BeaconUrlError("its scheme is another one"));
        }
        let host = base.host_str().ok_or(BeaconUrlError("it has no host"))?;
        let port = base.port().map_or_else(String::new, |port| format!(":{port}"));
        let node = format!("{}://{host}{port}", base.scheme());
        let mut client =
            reqwest::Client::builder().timeout(request_timeout).redirect(reqwest::redirect::Policy::none());
        if is_loopback(&base) {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|_| BeaconUrlError("no HTTP client could be made for it"))?;
        let (head, finality) = (Part::new("beacon head"), Part::new("finality checkpoints"));
        let blocks = Part::new("beacon blocks");
        Ok(Self { client, base, node, epoch_slots, seen_slot: None, head, finality, blocks })
    }

    /// One look at `at_s`; `None` where nothing could be read.
    pub async fn observe(&mut self, at_s: u64) -> Option<BeaconSight> {
        let (head, finality) = futures::join!(
            self.get::<RawHeader>(&["headers", "head"], Version::V1, SMALL_BYTES_MAX),
            self.get::<RawCheckpoints>(
                &["states", "head", "finality_checkpoints"],
                Version::V1,
                SMALL_BYTES_MAX
            ),
        );
        let head = self.head.settle(&self.node, at_s, head).map(|head| head.header.message.slot);
        let finality = self.finality.settle(&self.node, at_s, finality);
        let finality = head.zip(finality).map(|(slot, finality)| FinalityEpochs {
            current: slot / self.epoch_slots,
            finalized: finality.finalized.epoch,
        });
        let slots = match head.filter(|_| self.blocks.is_due(at_s)) {
            Some(head) => self.new_slots(at_s, head).await,
            None => Vec::new(),
        };
        (finality.is_some() || !slots.is_empty()).then_some(BeaconSight { finality, slots })
    }

    /// The slots up to the head that were not looked at yet, oldest first. It ends at the first one that cannot be
    /// read, with which the next look goes on.
    async fn new_slots(&mut self, at_s: u64, head: u64) -> Vec<SlotSight> {
        if self.seen_slot.is_some_and(|seen| head.saturating_add(SLOTS_BACK_MAX) < seen) {
            self.seen_slot = None;
        }
        let oldest = head.saturating_sub(SLOTS_PER_LOOK_MAX - 1);
        let first = self.seen_slot.map_or(head, |seen| seen.saturating_add(1).max(oldest));
        let mut slots = Vec::new();
        for slot in first..=head {
            let sight = self.slot(slot, head).await;
            let Some(sight) = self.blocks.settle(&self.node, at_s, sight) else { break };
            self.seen_slot = Some(slot);
            slots.push(sight);
        }
        slots
    }

    async fn slot(&self, slot: u64, head: u64) -> Result<SlotSight, Fault> {
        let block = self.get::<RawBlock>(&["blocks", &slot.to_string()], Version::V2, BLOCK_BYTES_MAX).await;
        match block {
            Ok(block) if block.message.slot == slot => {
                Ok(SlotSight { slot, block: Some(block.message.body.sight()) })
            }
            Ok(_) => Err(Fault::Malformed),
            // The head's own slot has a block; where it is gone the chain moved meanwhile.
            Err(Fault::Status(STATUS_NOT_FOUND)) if slot < head => Ok(SlotSight { slot, block: None }),
            Err(fault) => Err(fault),
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        version: Version,
        bytes_max: usize,
    ) -> Result<T, Fault> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["eth", version.segment(), "beacon"]).extend(path);
        }
        let mut answer = self.client.get(url).send().await.map_err(|error| fault(&error))?;
        let status = answer.status();
        if STATUS_NOT_OFFERED.contains(&status.as_u16()) {
            return Err(Fault::NotOffered);
        }
        if !status.is_success() {
            return Err(Fault::Status(status.as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| fault(&error))? {
            if body.len() + chunk.len() > bytes_max {
                return Err(Fault::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice::<Enveloped<T>>(&body).map(|body| body.data).map_err(|_| Fault::Malformed)
    }
}

/// Version of a method; it is part of the path.
#[derive(Debug, Clone, Copy)]
enum Version {
    V1,
    V2,
}

impl Version {
    fn segment(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The error's own text holds the url, so none of it is used.
fn fault(error: &reqwest::Error) -> Fault {
    if error.is_timeout() { Fault::Late } else { Fault::Unreachable }
}

#[derive(Debug, Deserialize)]
struct Enveloped<T> {
    data: T,
}

#[derive(Debug, Deserialize)]
struct RawHeader {
    header: Signed<RawSlot>,
}

#[derive(Debug, Deserialize)]
struct Signed<T> {
    message: T,
}

#[derive(Debug, Deserialize)]
struct RawSlot {
    #[serde(deserialize_with = "decimal")]
    slot: u64,
}

#[derive(Debug, Deserialize)]
struct RawCheckpoints {
    finalized: RawCheckpoint,
}

#[derive(Debug, Deserialize)]
struct RawCheckpoint {
    #[serde(deserialize_with = "decimal")]
    epoch: u64,
}

#[derive(Debug, Deserialize)]
struct RawBlock {
    message: RawMessage,
}

#[derive(Debug, Deserialize)]
struct RawMessage {
    #[serde(deserialize_with = "decimal")]
    slot: u64,
    body: RawBody,
}

#[derive(Debug, Deserialize)]
struct RawBody {
    #[serde(default)]
    proposer_slashings: Vec<RawProposerSlashing>,
    #[serde(default)]
    attester_slashings: Vec<RawAttesterSlashing>,
    sync_aggregate: Option<RawSyncAggregate>,
}

#[derive(Debug, Deserialize)]
struct RawSyncAggregate {
    sync_committee_bits: String,
}

#[derive(Debug, Deserialize)]
struct RawProposerSlashing {
    signed_header_1: Signed<RawProposer>,
}

#[derive(Debug, Deserialize)]
struct RawProposer {
    #[serde(deserialize_with = "decimal")]
    proposer_index: u64,
}

#[derive(Debug, Deserialize)]
struct RawAttesterSlashing {
    attestation_1: RawAttestation,
    attestation_2: RawAttestation,
}

#[derive(Debug, Deserialize)]
struct RawAttestation {
    attesting_indices: Vec<Decimal>,
}

/// A number as the beacon API writes it: decimal digits in a string.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Decimal(#[serde(deserialize_with = "decimal")] u64);

fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom("expected decimal digits of at most 64 bits"))
}

impl RawBody {
    fn sight(&self) -> SlotBlock {
        let proposers =
            self.proposer_slashings.iter().map(|slashing| slashing.signed_header_1.message.proposer_index);
        let mut slashed: BTreeSet<u64> = proposers.collect();
        for RawAttesterSlashing { attestation_1, attestation_2 } in &self.attester_slashings {
            // Who signed both of two contradicting attestations is slashed.
            let first: BTreeSet<u64> = attestation_1.attesting_indices.iter().map(|index| index.0).collect();
            let both = attestation_2.attesting_indices.iter().map(|index| index.0);
            slashed.extend(both.filter(|index| first.contains(index)));
        }
        let sync = self.sync_aggregate.as_ref();
        let sync_permille = sync.and_then(|sync| share_permille(&sync.sync_committee_bits));
        SlotBlock { sync_permille, slashed: slashed.into_iter().collect() }
    }
}

/// Share of set bits in thousandths, rounded down; `None` for what is no bit vector.
fn share_permille(bits: &str) -> Option<u32> {
    let bytes = hex::decode(bits).ok()?;
    let set: usize = bytes.iter().map(|byte| usize::try_from(byte.count_ones()).unwrap_or(0)).sum();
    let permille = set.checked_mul(1_000)?.checked_div(bytes.len().checked_mul(8)?)?;
    u32::try_from(permille).ok()
}

#[cfg(test)]
mod tests;
