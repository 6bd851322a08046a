//! What `cordon check` refuses: whatever would otherwise be found when an incident is under way.

use super::{complaint, config, cordon};

/// A second entry of some kind, put before the detectors.
fn with(entry: &str) -> (&'static str, String) {
    ("[[detector]]\ntype = \"oracle\"", format!("{entry}\n[[detector]]\ntype = \"oracle\""))
}

/// The first match of a text in the example is replaced, and the complaint holds the other text.
fn refused(cases: Vec<((&str, String), &str)>) {
    for ((from, to), expected) in cases {
        let folder = config(|text| {
            assert!(text.contains(from), "the example has no '{from}'");
            text.replacen(from, &to, 1)
        });
        let said = complaint(folder.path(), &["check"], 3);
        assert!(said.contains(expected), "for '{to}' wanted '{expected}', but it said:\n{said}");
        assert!(said.contains("has 1 problem(s)"), "one mistake is one problem:\n{said}");
    }
}

fn swap<'a>(from: &'a str, to: &str) -> (&'a str, String) {
    (from, to.to_owned())
}

/// The example with its chain given as one of several.
fn several(chains: &str) -> impl Fn(String) -> String + use<> {
    let chains = chains.to_owned();
    move |text| {
        let (before, rest) = text.split_once("[chain]").unwrap();
        let (_, after) = rest.split_once("[[protocol]]").unwrap();
        format!("{before}{chains}\n[[protocol]]{after}")
    }
}

#[test]
fn several_chains_are_checked_one_by_one() {
    let chains = "[[chain]]\nid = 1\nquorum = 2\n[[chain.node]]\nname = \"own\"\nrpc = \"/run/geth.ipc\"\n\
        [[chain.node]]\nrpc = \"https://node.example/key\"\nrequests_per_s = 20\n\
        [[chain]]\nid = 17000\nrpc = \"ws://127.0.0.1:9\"\n";
    let folder =
        config(|text| several(chains)(text).replace("id = \"lending\"", "id = \"lending\"\nchain = 1"));
    let output = cordon(folder.path(), &["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("chain 1, 1 protocol(s)") && said.contains("chain 17000, 0 protocol(s)"), "{said}");
}

#[test]
fn what_is_wrong_with_several_chains_is_named() {
    let one = "[[chain]]\nid = 1\nrpc = \"ws://127.0.0.1:9\"\n";
    let nodes = "[[chain]]\nid = 1\nquorum = 3\nfetch_ahead = 65\nrpc = \"ws://127.0.0.1:9\"\n\
        [[chain.node]]\nname = \"a\"\nrpc = \"https://node.example/secret\"\n\
        [[chain.node]]\nname = \"a\"\nrpc = \"gopher://secret\"\n";
    let twice = one.repeat(2);
    let other = format!("{one}{}", one.replace("id = 1", "id = 17000"));
    let said = complaint(config(several(&twice)).path(), &["check"], 3);
    assert!(said.contains("chain[1].id: found '1', expected an id that no other"), "{said}");
    let said = complaint(config(several(&other)).path(), &["check"], 3);
    assert!(
        said.contains("protocol[0].chain: found 'nothing', expected the id of one of the chains (1, 17000)"),
        "{said}"
    );
    let said = complaint(config(several(nodes)).path(), &["check"], 3);
    assert!(said.contains("chain[0].rpc: found 'both rpc and node'"), "{said}");
    assert!(said.contains("chain[0].fetch_ahead: found '65', expected a number from 0 to 64"), "{said}");
    assert!(
        said.contains("chain[0].quorum: found '3', expected a number from 1 to the number of nodes, 1"),
        "{said}"
    );
    assert!(said.contains("chain[0].node[1].name: found 'a'"), "{said}");
    assert!(
        said.contains("chain[0].node[1].rpc: found 'another scheme'") && !said.contains("secret"),
        "{said}"
    );
    let said = complaint(config(several("[[chain]]\nid = 1\nrcp = \"x\"\n")).path(), &["check"], 3);
    assert!(said.contains("`rcp`") && said.contains("`rpc_env`"), "{said}");
}

/// The example without its detectors.
fn without_detectors(text: &str) -> String {
    let (before, rest) = text.split_once("[[detector]]").unwrap();
    let (_, after) = rest.split_once("# [[detector]]").unwrap();
    format!("{before}# [[detector]]{after}")
}

#[test]
fn all_detectors_are_one_line_and_none_is_refused() {
    let folder = config(|text| without_detectors(&text));
    let output = cordon(folder.path(), &["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder =
        config(|text| without_detectors(&text).replace("all_detectors = true", "all_detectors = false"));
    let said = complaint(folder.path(), &["check"], 3);
    assert!(
        said.contains("detector: found 'nothing', expected all_detectors = true, or at least one"),
        "{said}"
    );
}

#[test]
fn nothing_may_be_there_twice() {
    let second_protocol = "[[protocol]]\nid = \"other\"\ncontracts = [\n  \
        { address = \"0x2222222222222222222222222222222222222222\", name = \"Again\" },\n]";
    refused(vec![
        (
            swap("type = \"oracle\"", "type = \"value-loss\""),
            "detector[1].type: found 'value-loss', expected a type that no other",
        ),
        (
            swap(
                "0x2222222222222222222222222222222222222222\", name",
                "0x1111111111111111111111111111111111111111\", name",
            ),
            "protocol[0].contracts[1].address: found '0x1111111111111111111111111111111111111111', expected a contract that no other",
        ),
        (
            with(second_protocol),
            "protocol[1].contracts[0].address: found '0x2222222222222222222222222222222222222222', expected a contract that no other",
        ),
        (
            with(&second_protocol.replace("other", "lending").replace(
                "0x2222222222222222222222222222222222222222",
                "0x8888888888888888888888888888888888888888",
            )),
            "protocol[1].id: found 'lending', expected an id that no other",
        ),
        (
            with(
                "[[protocol.asset]]\ntoken = \"0x3333333333333333333333333333333333333333\"\nsymbol = \"again\"\ndecimals = 18",
            ),
            "protocol[0].asset[3].token: found '0x3333333333333333333333333333333333333333', expected a token that no other",
        ),
        (
            with(
                "[[signer]]\naddress = \"0x5555555555555555555555555555555555555555\"\nkeystore = \"guardian.json\"\npassword_env = \"A\"",
            ),
            "signer[1].address: found '0x5555555555555555555555555555555555555555', expected an account that no other",
        ),
        (
            with("[[channel]]\ntype = \"terminal\""),
            "channel[1].name: found 'terminal', expected a name that no other",
        ),
    ]);
}

#[test]
fn numbers_of_the_policy_have_their_ranges() {
    let policy = |line: &str| ("# [policy]", format!("[policy]\n{line} #"));
    let cases = [
        ("alarm_score = 0", "policy.alarm_score: found '0', expected a number from 1 to 1000"),
        ("alarm_score = 1001", "policy.alarm_score: found '1001', expected a number from 1 to 1000"),
        ("joint_alarm_score = 0", "policy.joint_alarm_score: found '0', expected a number from 1 to 1000"),
        ("window_blocks = 0", "policy.window_blocks: found '0', expected at least 1"),
        ("critical_loss_bps = 0", "policy.critical_loss_bps: found '0', expected a number from 1 to 10000"),
        (
            "side_effect_max_bps = 10001",
            "policy.side_effect_max_bps: found '10001', expected a number from 0 to 10000",
        ),
    ];
    refused(cases.into_iter().map(|(line, expected)| (policy(line), expected)).collect());
    for line in ["alarm_score = 1000", "critical_loss_bps = 10000", "side_effect_max_bps = 0"] {
        let folder = config(|text| text.replacen("# [policy]", &format!("[policy]\n{line} #"), 1));
        assert!(cordon(folder.path(), &["check"]).status.success(), "{line} is in range");
    }
}

#[test]
fn what_is_referred_to_must_be_there() {
    refused(vec![
        (
            swap("id = 1\n", "id = 31337\n"),
            "chain.hardfork: found 'nothing', expected the hardfork that chain 31337 runs",
        ),
        (
            swap("id = 1\n", "id = 1\nhardfork = \"tokyo\"\n"),
            "chain.hardfork: found 'tokyo', expected one of",
        ),
        (
            swap("http://127.0.0.1:9", "http://"),
            "chain.rpc: found 'no usable host', expected a URL with a host",
        ),
        (swap("id = \"lending\"", "id = \" \""), "protocol[0].id: found ' ', expected a name"),
        (
            swap("guardian.json\" ", "nobody.json\" "),
            "nobody.json', expected a Web3 Secret Storage file that exists",
        ),
        (
            swap("password_env = \"CORDON_GUARDIAN_PASSWORD\"", "password_file = \"no-password\""),
            "no-password', expected a file that exists and holds",
        ),
        (
            swap(
                "target = \"0x1111111111111111111111111111111111111111\"\nfunction",
                "target = \"0x9999999999999999999999999999999999999999\"\nfunction",
            ),
            "protocol[0].account[0].target: found '0x9999999999999999999999999999999999999999', \
             expected one of the protocol's contracts (LendingVault, CollateralVault)",
        ),
        (
            swap(
                "target = \"0x1111111111111111111111111111111111111111\"\nauthority",
                "target = \"0x9999999999999999999999999999999999999999\"\nauthority",
            ),
            "protocol[0].lever[0].target: found '0x9999999999999999999999999999999999999999', expected one of",
        ),
        (
            swap("asset = \"0x3333333333333333333333333333333333333333\"", "asset = \"native\""),
            "protocol[0].account[1].asset: found 'native', expected the token of one of the protocol's assets (dUSD, sETH, vsETH)",
        ),
    ]);
}

#[test]
fn a_share_must_lead_to_a_price() {
    let underlying = "underlying = \"0x4444444444444444444444444444444444444444\"";
    refused(vec![
        (
            swap(underlying, "underlying = \"native\""),
            "protocol[0].asset[2].underlying: found 'native', expected an asset that leads to a price, but native is none",
        ),
        (
            swap("price = \"2000\"", ""),
            "protocol[0].asset[2].underlying: found '0x4444444444444444444444444444444444444444', \
             expected an asset that leads to a price, but 'sETH' has none",
        ),
        (
            swap(underlying, "underlying = \"0x2222222222222222222222222222222222222222\""),
            "protocol[0].asset[2].underlying: found '0x2222222222222222222222222222222222222222', \
             expected an asset that leads to a price in at most 4 steps, and in no circle",
        ),
    ]);
    // A share of a share of sETH leads to the price of sETH.
    let nested = "[[protocol.asset]]\ntoken = \"0x9999999999999999999999999999999999999999\"\nsymbol = \"w\"\ndecimals = 18\n\
        share_of = \"0x9999999999999999999999999999999999999999\"\nunderlying = \"0x2222222222222222222222222222222222222222\"";
    let (from, to) = with(nested);
    let folder = config(|text| text.replacen(from, &to, 1));
    assert!(cordon(folder.path(), &["check"]).status.success());
}
