//! The words of many clients, and what is made of them.

use super::*;
use alloy_json_rpc::{Id, Request, Response};
use serde_json::{Value, json};

fn request(method: &'static str, params: Value) -> RequestPacket {
    RequestPacket::Single(Request::new(method, Id::Number(1), params).serialize().unwrap())
}

fn response(payload: Value) -> TransportResult<ResponsePacket> {
    let mut text = json!({"jsonrpc": "2.0", "id": 1});
    text.as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
    Ok(ResponsePacket::Single(serde_json::from_value::<Response>(text).unwrap()))
}

fn refused(code: i64, message: &str) -> Worth {
    let call = request("eth_call", json!([{}, "latest"]));
    worth(&call, &response(json!({"error": {"code": code, "message": message}})), None)
}

#[test]
fn only_what_changes_nothing_may_be_repeated() {
    for method in ["eth_call", "eth_getBlockByNumber", "eth_getProof", "debug_traceCall", "trace_block"] {
        assert_eq!(kind(&request(method, json!([]))), Kind::Read, "{method}");
    }
    for method in
        ["eth_sendTransaction", "eth_newFilter", "eth_getFilterChanges", "anvil_mine", "eth_subscribe"]
    {
        assert_eq!(kind(&request(method, json!([]))), Kind::Bound, "{method}");
    }
    let send = request("eth_sendRawTransaction", json!(["0x00"]));
    assert_eq!(kind(&send), Kind::Send);
    let mut mixed = send;
    mixed.push(Request::new("eth_chainId", Id::Number(2), ()).serialize().unwrap());
    assert_eq!(kind(&mixed), Kind::Bound, "a packet is as harmful as its worst request");
}

#[test]
fn what_nodes_lack_is_asked_of_another() {
    for message in [
        "header not found",
        "missing trie node 0a1b (path ) state 0x12 is not available",
        "Unknown block",
        "BlockOutOfRangeError: block height is 5 but requested was 9",
        "No state available for block 0x12",
        "historical state 0x12 is not available",
        "World state unavailable",
    ] {
        assert_eq!(refused(-32_000, message), Worth::Lacks, "{message}");
    }
}

#[test]
fn the_result_of_an_execution_is_an_answer() {
    for (code, message) in [
        (3, "execution reverted: not enough"),
        (-32_000, "insufficient funds for gas * price + value"),
        (-32_000, "gas required exceeds allowance (50000)"),
        (-32_602, "invalid argument 0"),
        (-32_000, "nonce too low"),
    ] {
        assert_eq!(refused(code, message), Worth::Good, "{message}");
    }
}

#[test]
fn limits_are_read_from_status_code_and_words() {
    assert_eq!(refused(-32_005, "limit exceeded"), Worth::Limited(None));
    assert_eq!(refused(429, "slow"), Worth::Limited(None));
    assert_eq!(refused(-32_000, "daily limit exceeded"), Worth::Limited(None));
    assert_eq!(refused(-32_005, "try again in 40ms"), Worth::Limited(Some(Duration::from_millis(40))));
    let call = request("eth_call", json!([]));
    let http =
        |status, after| Err(TransportErrorKind::http_error_with_retry_after(status, String::new(), after));
    assert_eq!(worth(&call, &http(429, None), None), Worth::Limited(None));
    let pause = Some(Duration::from_secs(3));
    assert_eq!(worth(&call, &http(503, pause), None), Worth::Limited(pause));
    assert_eq!(worth(&call, &http(503, None), None), Worth::Failed);
    assert_eq!(worth(&call, &http(401, None), None), Worth::Failed, "another node may know the key");
}

#[test]
fn missing_methods_are_known_by_code_or_words() {
    assert_eq!(refused(-32_601, "nope"), Worth::Unsupported);
    let words = "the method eth_getBlockReceipts does not exist/is not available";
    assert_eq!(refused(-32_000, words), Worth::Unsupported);
}

#[test]
fn a_block_that_another_node_reached_should_exist() {
    let by_number = |tag: &str| request("eth_getBlockByNumber", json!([tag, false]));
    let null = || response(json!({"result": null}));
    assert_eq!(worth(&by_number("0x10"), &null(), Some(16)), Worth::Lacks);
    assert_eq!(worth(&by_number("0x11"), &null(), Some(16)), Worth::Good, "nobody has it");
    assert_eq!(worth(&by_number("0x10"), &null(), None), Worth::Good);
    assert_eq!(worth(&by_number("finalized"), &null(), Some(16)), Worth::Good);
    assert_eq!(worth(&request("eth_getBlockByHash", json!(["0x12", false])), &null(), None), Worth::Lacks);
    let receipt = request("eth_getTransactionReceipt", json!(["0x12"]));
    assert_eq!(worth(&receipt, &null(), Some(16)), Worth::Good, "it may just wait to be mined");
}

#[test]
fn a_batch_is_as_good_as_its_worst_answer_and_complete() {
    let one = Request::new("eth_chainId", Id::Number(1), ()).serialize().unwrap();
    let two = Request::new("eth_call", Id::Number(2), ()).serialize().unwrap();
    let batch = RequestPacket::Batch(vec![one, two]);
    let read = |text: Value| Ok(serde_json::from_value::<ResponsePacket>(text).unwrap());
    let good = json!({"jsonrpc": "2.0", "id": 1, "result": "0x1"});
    let lacking =
        json!({"jsonrpc": "2.0", "id": 2, "error": {"code": -32000, "message": "header not found"}});
    assert_eq!(worth(&batch, &read(json!([good, lacking])), None), Worth::Lacks);
    assert_eq!(worth(&batch, &read(json!([good])), None), Worth::Failed);
}

#[test]
fn a_transaction_that_is_known_already_was_accepted() {
    let send = request("eth_sendRawTransaction", json!(["0x0102"]));
    for (message, accepted) in [
        ("already known", true),
        ("AlreadyKnown", true),
        ("nonce too low", false),
        ("execution reverted", false),
    ] {
        let mut packet = response(json!({"error": {"code": -32000, "message": message}})).unwrap();
        accept_known(&send, &mut packet);
        assert_eq!(packet.is_success(), accepted, "{message}");
        if accepted {
            let text = packet.single_payload().unwrap().as_success().unwrap().get().to_owned();
            assert_eq!(text, format!("\"{}\"", keccak256([1, 2])));
        }
    }
}
