//! Two nodes, and they do not agree: nothing is sent, people are told, and it goes on when they agree again (F12).

use crate::anvil::{Anvil, binary};
use crate::market::Market;
use crate::watch::Watch;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch::{Sender, channel};

/// How long nothing must be sent before the test believes that nothing will be: a pause takes a tenth of it.
const SILENCE: Duration = Duration::from_secs(3);

/// A port behind which the node can be exchanged. Connections end when it is.
struct Switch {
    port: u16,
    target: Sender<u16>,
}

impl Switch {
    async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, receiver) = channel(target);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut target = receiver.clone();
                tokio::spawn(async move {
                    let port = *target.borrow_and_update();
                    let Ok(mut node) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut node) => {}
                        _ = target.changed() => {}
                    }
                });
            }
        });
        Self { port, target: sender }
    }
}

/// Two nodes that share their past, and a watcher that needs both. The second can be exchanged behind its port.
struct Pair {
    first: Anvil,
    second: Anvil,
    switch: Switch,
    market: Market,
    /// The part of the configuration that names the second node.
    second_node: String,
    watch: Watch,
}

impl Pair {
    async fn begin() -> Option<Self> {
        let binary = binary()?;
        let first = Anvil::start(&binary);
        let market = Market::deploy(&first).await;
        let start = first.block_number().await;
        let (url, number) = (format!("http://127.0.0.1:{}", first.port), start.to_string());
        // Shares every block up to here, and goes its own way from here on.
        let second = Anvil::start_with(&binary, &["--fork-url", &url, "--fork-block-number", &number]);
        let switch = Switch::to(first.port).await;
        let prepared = Watch::prepare(&market, &url, start, "automatic");
        let first_node = format!("[[chain.node]]\nname = \"first\"\nrpc = \"{url}\"\n");
        let rpc = format!("http://127.0.0.1:{}", switch.port);
        let second_node = format!("[[chain.node]]\nname = \"second\"\nrpc = \"{rpc}\"\n");
        prepared.edit_config(|text| {
            let nodes = format!("quorum = 2\n{first_node}{second_node}[[protocol]]");
            text.replace(&format!("rpc = \"{url}\"\n"), "").replacen("[[protocol]]", &nodes, 1)
        });
        let mut watch = Watch::begin(prepared);
        watch.await_line("watching").await;
        Some(Self { first, second, switch, market, second_node, watch })
    }

    /// The nodes part in the block of an attack.
    async fn part(&mut self) {
        self.switch.target.send_replace(self.second.port);
        self.market.strike(&self.first).await;
        self.first.mine().await;
        self.second.mine().await;
        self.watch.await_line("nodes disagree on block").await;
        tokio::time::sleep(SILENCE).await;
        for node in [&self.first, &self.second] {
            let sent = node.nonce(self.market.guardian, "pending").await;
            assert_eq!(sent, 0, "nothing is sent while nodes disagree, on port {}", node.port);
        }
    }

    /// The pause lands, and people know all of it.
    async fn goes_on(mut self) {
        self.first.await_pending(self.market.guardian).await;
        self.first.mine().await;
        self.watch.await_line("contained").await;
        assert!(self.market.paused(&self.first).await, "it goes on");
        self.watch.interrupt().await;
        assert_eq!(self.watch.incidents().len(), 1);
        let told = self.watch.log_text();
        for words in ["Cordon sends nothing on this chain", "Cordon sends on this chain again"] {
            assert!(told.lines().any(|line| line == words), "the watch says it: {words}\n{told}");
            let notices = told.lines().filter(|line| line.ends_with(&format!("] {words}")));
            assert_eq!(notices.count(), 2, "responders and signers are told, once: {words}\n{told}");
        }
    }
}

#[tokio::test]
async fn nodes_that_disagree_stop_automation_and_agreement_lets_it_go_on() {
    let Some(mut pair) = Pair::begin().await else { return };
    pair.part().await;
    pair.switch.target.send_replace(pair.first.port);
    pair.goes_on().await;
}

#[tokio::test]
async fn whoever_leaves_one_node_in_the_configuration_has_decided_between_them() {
    let Some(mut pair) = Pair::begin().await else { return };
    pair.part().await;
    pair.watch.kill();
    let gone = pair.second_node.clone();
    pair.watch.edit_config(|text| text.replace("quorum = 2\n", "").replace(&gone, ""));
    pair.watch.restart();
    pair.goes_on().await;
}
