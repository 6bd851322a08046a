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

#[tokio::test]
async fn nodes_that_disagree_stop_automation_and_agreement_lets_it_go_on() {
    let Some(binary) = binary() else { return };
    let first = Anvil::start(&binary);
    let market = Market::deploy(&first).await;
    let start = first.block_number().await;
    let (url, number) = (format!("http://127.0.0.1:{}", first.port), start.to_string());
    // Shares every block up to here, and goes its own way from here on.
    let second = Anvil::start_with(&binary, &["--fork-url", &url, "--fork-block-number", &number]);
    let switch = Switch::to(first.port).await;
    let prepared = Watch::prepare(&market, &url, start, "automatic");
    let nodes = format!(
        "quorum = 2\n[[chain.node]]\nname = \"first\"\nrpc = \"{url}\"\n\
         [[chain.node]]\nname = \"second\"\nrpc = \"http://127.0.0.1:{}\"\n",
        switch.port
    );
    prepared.edit_config(|text| {
        text.replace(&format!("rpc = \"{url}\"\n"), "").replacen(
            "[[protocol]]",
            &format!("{nodes}[[protocol]]"),
            1,
        )
    });
    let mut watch = Watch::begin(prepared);
    watch.await_line("watching").await;

    switch.target.send_replace(second.port);
    market.strike(&first).await;
    first.mine().await;
    second.mine().await;
    watch.await_line("nodes disagree on block").await;
    tokio::time::sleep(SILENCE).await;
    assert_eq!(first.nonce(market.guardian, "pending").await, 0, "nothing is sent while nodes disagree");
    assert_eq!(second.nonce(market.guardian, "pending").await, 0, "nor to the other one");

    switch.target.send_replace(first.port);
    first.await_pending(market.guardian).await;
    first.mine().await;
    watch.await_line("contained").await;
    assert!(market.paused(&first).await, "it goes on when they agree");
    watch.interrupt().await;
    assert_eq!(watch.incidents().len(), 1);
    let told = watch.log_text();
    for words in ["Cordon sends nothing on this chain", "Cordon sends on this chain again"] {
        assert!(told.contains(words), "people are told: {words}");
    }
}
