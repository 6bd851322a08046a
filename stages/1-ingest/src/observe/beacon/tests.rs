//! The beacon API played over HTTP, in the shapes of ethereum/beacon-APIs; no beacon node runs offline.

use super::*;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const EPOCH: NonZeroU64 = NonZeroU64::new(32).expect("32 is not zero");
const ROOT: &str = "0xcf8e0d4e9587369b2301d0790347320302cc0943d5a1884560367e8208d920f2";

fn header(slot: u64) -> Value {
    json!({ "execution_optimistic": false, "finalized": false, "data": {
        "root": ROOT, "canonical": true, "header": {
            "message": { "slot": slot.to_string(), "proposer_index": "1", "parent_root": ROOT, "state_root": ROOT,
                "body_root": ROOT },
            "signature": "0x00" } } })
}

fn checkpoints(finalized: u64) -> Value {
    let at = |epoch: u64| json!({ "epoch": epoch.to_string(), "root": ROOT });
    json!({ "execution_optimistic": false, "finalized": false, "data": {
        "previous_justified": at(finalized), "current_justified": at(finalized + 1), "finalized": at(finalized) } })
}

fn attestation(indices: &[u64]) -> Value {
    let indices: Vec<_> = indices.iter().map(u64::to_string).collect();
    let at = json!({ "epoch": "1", "root": ROOT });
    json!({ "attesting_indices": indices, "signature": "0x00",
        "data": { "slot": "1", "index": "0", "beacon_block_root": ROOT, "source": at, "target": at } })
}

fn block(slot: u64) -> Value {
    json!({ "version": "electra", "execution_optimistic": false, "finalized": false, "data": {
        "signature": "0x00", "message": {
            "slot": slot.to_string(), "proposer_index": "1", "parent_root": ROOT, "state_root": ROOT,
            "body": {
                "randao_reveal": "0x00", "eth1_data": {}, "graffiti": ROOT,
                "proposer_slashings": [], "attester_slashings": [], "attestations": [], "deposits": [],
                "voluntary_exits": [],
                "sync_aggregate": { "sync_committee_bits": format!("0x{}", "f7".repeat(64)),
                    "sync_committee_signature": "0x00" },
                "execution_payload": { "transactions": ["0x02"] } } } } })
}

/// A beacon node whose slots after the first have a block unless they are in `missed`.
#[derive(Debug, Clone, Default)]
struct Beacon {
    head: u64,
    finalized: u64,
    missed: Vec<u64>,
    slashings: Option<(u64, Value, Value)>,
    down: bool,
    asked: Vec<String>,
}

impl Beacon {
    fn answer(&mut self, path: &str) -> ResponseTemplate {
        self.asked.push(path.to_owned());
        if self.down {
            return ResponseTemplate::new(503).set_body_string("<html>key s3cretkey</html>");
        }
        let found = |body: Value| ResponseTemplate::new(200).set_body_json(body);
        let not_found =
            ResponseTemplate::new(404).set_body_json(json!({ "code": 404, "message": "Block not found" }));
        match path.trim_start_matches("/s3cretkey") {
            "/eth/v1/beacon/headers/head" => found(header(self.head)),
            "/eth/v1/beacon/states/head/finality_checkpoints" => found(checkpoints(self.finalized)),
            path => match path.strip_prefix("/eth/v2/beacon/blocks/").and_then(|slot| slot.parse().ok()) {
                Some(slot) if slot <= self.head && !self.missed.contains(&slot) => {
                    let mut block = block(slot);
                    if let Some((_, proposers, attesters)) =
                        self.slashings.as_ref().filter(|(at, ..)| *at == slot)
                    {
                        block["data"]["message"]["body"]["proposer_slashings"] = proposers.clone();
                        block["data"]["message"]["body"]["attester_slashings"] = attesters.clone();
                    }
                    found(block)
                }
                _ => not_found,
            },
        }
    }
}

async fn serve(beacon: Beacon) -> (MockServer, Arc<Mutex<Beacon>>) {
    let shared = Arc::new(Mutex::new(beacon));
    let server = MockServer::start().await;
    let played = Arc::clone(&shared);
    let respond = move |request: &Request| played.lock().unwrap().answer(request.url.path());
    Mock::given(any()).respond_with(respond).mount(&server).await;
    (server, shared)
}

fn observer(server: &MockServer) -> BeaconObserver {
    BeaconObserver::new(&format!("{}/s3cretkey/", server.uri()), Duration::from_secs(5), EPOCH).unwrap()
}

fn slots(sight: &BeaconSight) -> Vec<(u64, bool)> {
    sight.slots.iter().map(|slot| (slot.slot, slot.block.is_some())).collect()
}

#[tokio::test]
async fn epochs_the_committee_and_missed_slots_are_read() {
    let (server, beacon) = serve(Beacon { head: 96, finalized: 1, ..Beacon::default() }).await;
    let mut observer = observer(&server);
    let sight = observer.observe(0).await.unwrap();
    assert_eq!(sight.finality, Some(FinalityEpochs { current: 3, finalized: 1 }));
    let block = SlotBlock { sync_permille: Some(875), slashed: Vec::new() };
    assert_eq!(sight.slots, [SlotSight { slot: 96, block: Some(block) }]);

    assert_eq!(slots(&observer.observe(1).await.unwrap()), [], "the same head is not fetched twice");
    {
        let mut beacon = beacon.lock().unwrap();
        (beacon.head, beacon.missed) = (100, vec![98, 99]);
    }
    let sight = observer.observe(2).await.unwrap();
    assert_eq!(slots(&sight), [(97, true), (98, false), (99, false), (100, true)]);
    let blocks = beacon.lock().unwrap().asked.iter().filter(|path| path.contains("/blocks/")).count();
    assert_eq!(blocks, 5);
}

#[tokio::test]
async fn slashed_validators_are_those_who_signed_both() {
    let proposer = |index: &str| {
        let header = json!({ "message": { "slot": "5", "proposer_index": index, "parent_root": ROOT,
            "state_root": ROOT, "body_root": ROOT }, "signature": "0x00" });
        json!({ "signed_header_1": header, "signed_header_2": header })
    };
    let attesters =
        json!([{ "attestation_1": attestation(&[3, 5, 9]), "attestation_2": attestation(&[4, 5, 9]) }]);
    let slashings = Some((5, json!([proposer("77"), proposer("5")]), attesters));
    let (server, _) = serve(Beacon { head: 5, slashings, ..Beacon::default() }).await;
    let sight = observer(&server).observe(0).await.unwrap();
    assert_eq!(sight.slots[0].block.as_ref().unwrap().slashed, [5, 9, 77]);
}

#[tokio::test]
async fn a_long_absence_is_caught_up_with_in_part_and_a_head_far_back_starts_anew() {
    let (server, beacon) = serve(Beacon { head: 10, ..Beacon::default() }).await;
    let mut observer = observer(&server);
    observer.observe(0).await.unwrap();
    beacon.lock().unwrap().head = 1_000;
    let caught_up = slots(&observer.observe(1).await.unwrap());
    assert_eq!((caught_up.first(), caught_up.len()), (Some(&(993, true)), 8));
    beacon.lock().unwrap().head = 990;
    assert_eq!(slots(&observer.observe(2).await.unwrap()), []);
    beacon.lock().unwrap().head = 20;
    assert_eq!(slots(&observer.observe(3).await.unwrap()), [(20, true)]);
}

#[tokio::test]
async fn an_outage_is_nothing_and_the_slots_are_read_afterwards() {
    let (server, beacon) = serve(Beacon { head: 10, ..Beacon::default() }).await;
    let mut observer = observer(&server);
    observer.observe(0).await.unwrap();
    beacon.lock().unwrap().down = true;
    assert_eq!(observer.observe(1).await, None);
    assert_eq!(observer.head.last, Some(Err(Fault::Status(503))));
    {
        let mut beacon = beacon.lock().unwrap();
        (beacon.down, beacon.head) = (false, 12);
    }
    assert_eq!(slots(&observer.observe(2).await.unwrap()), [(11, true), (12, true)]);
    drop(server);
}

#[tokio::test]
async fn a_part_that_fails_leaves_the_others() {
    // A head whose block is gone again: the chain moved between two requests.
    let (server, beacon) =
        serve(Beacon { head: 10, missed: vec![10], finalized: 7, ..Beacon::default() }).await;
    let mut observer = observer(&server);
    let sight = observer.observe(0).await.unwrap();
    assert_eq!((sight.finality.unwrap().finalized, slots(&sight)), (7, vec![]));
    beacon.lock().unwrap().missed.clear();
    assert_eq!(slots(&observer.observe(1).await.unwrap()), [(10, true)]);
}

#[tokio::test]
async fn malformed_large_late_and_missing_answers_are_told_apart() {
    let cases = [
        (ResponseTemplate::new(200).set_body_string("{"), Fault::Malformed),
        (ResponseTemplate::new(200).set_body_json(json!({ "data": { "header": 1 } })), Fault::Malformed),
        (ResponseTemplate::new(200).set_body_string("x".repeat(SMALL_BYTES_MAX + 1)), Fault::TooLarge),
        (ResponseTemplate::new(200).set_delay(Duration::from_secs(30)), Fault::Late),
        (ResponseTemplate::new(405), Fault::NotOffered),
        (ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"), Fault::Status(302)),
    ];
    for (answer, fault) in cases {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let limit = Duration::from_millis(if fault == Fault::Late { 100 } else { 5_000 });
        let mut observer = BeaconObserver::new(&server.uri(), limit, EPOCH).unwrap();
        assert_eq!(observer.observe(0).await, None);
        assert_eq!(observer.head.last, Some(Err(fault)));
    }
    let mut nobody = BeaconObserver::new("http://127.0.0.1:1", Duration::from_secs(5), EPOCH).unwrap();
    assert_eq!(nobody.observe(0).await, None);
    assert_eq!(nobody.head.last, Some(Err(Fault::Unreachable)));
}

#[test]
fn neither_errors_nor_debug_texts_show_the_url() {
    for url in ["s3cretkey", "ftp://h/s3cretkey", "data:s3cretkey"] {
        let error = BeaconObserver::new(url, Duration::from_secs(1), EPOCH).unwrap_err();
        assert!(!error.to_string().contains("s3cretkey"), "{error}");
    }
    let observer =
        BeaconObserver::new("https://ann:pw@node.example/s3cretkey?k=tok", Duration::from_secs(1), EPOCH)
            .unwrap();
    assert_eq!(format!("{observer:?}"), "BeaconObserver { node: \"https://node.example\", .. }");
}

#[test]
fn the_share_of_set_bits_is_exact() {
    assert_eq!(share_permille(&format!("0x{}", "ff".repeat(64))), Some(1_000));
    assert_eq!(share_permille(&format!("0x{}7f", "ff".repeat(63))), Some(998), "511 of 512");
    assert_eq!((share_permille("0x"), share_permille("0xzz"), share_permille("")), (None, None, None));
}
